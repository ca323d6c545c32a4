"""Flights of known quality, and what rewards are judged by on them before any training.

`recording` flies them, `trajectories` keeps them, `stored_signals` computes any signal on them again; `returns` says
what they are worth, `ranking` which must be worth more, `learnable` whether PPO can be expected to learn.
"""
