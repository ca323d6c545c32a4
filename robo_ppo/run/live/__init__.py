"""The live view: one vehicle that flies in real time, in a browser, from what the exported policy commands.

`session` flies and can be disturbed, `player` gives it the time of a wall clock, `page` shows it and takes what a
person does there. A world that broke in training is replayed by `replay` and shown by `replay_page`. The pages alone
need viser (`pip install 'robo-ppo[view]'`).
"""
