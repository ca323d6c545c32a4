"""Flies a trained policy on a vehicle: reads its bundle, feeds it measurements, sends its commands, keeps it safe.

    python -m robo_ppo_onboard bundle=policy.onnx link=mavlink

A package of its own (`robo-ppo-onboard`: numpy, onnxruntime and PyYAML, Python 3.8 and newer) that installs on a
companion computer without torch, MuJoCo or Hydra. What trains imports it, never the other way round, so there is one
reader of bundles, one way in which a policy is run, and one safety net.

- `bundle`, `contract`, `runtime`, `verify`: the policy's file and what is in it;
- `sources` deliver measurements, `links` take commands to actuators;
- `safety`: what may go wrong, what then happens, and the law that brings the vehicle down;
- `controller`: all of it in a loop with a clock.
"""

__version__ = "0.1.0"
