"""One trained policy for each shipped task, so that everything works at once: `python evaluate.py bundle=uav_nav`.

Each is the policy.onnx of `python train.py task=<name> seed=0`; its contract says with which commit and versions, and
how it did. `robo_ppo.run.folder.find_bundle` finds them by name.
"""
