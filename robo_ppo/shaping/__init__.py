"""The reward loop: something proposes, a gate refuses, the simulator decides, a judge looks for tricks.

Data flows one way: `proposer` → `gate` → `candidates` → `diagnosis` → `judge` → `refine` → `record` (and its page).
"""
