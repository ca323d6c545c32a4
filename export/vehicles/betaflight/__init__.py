"""A vehicle that real Betaflight firmware flies: the firmware as a process of its own, our MuJoCo model as its world.

    python -m robo_ppo.export.vehicles.betaflight build                          # once: fetch and build the firmware
    python -m robo_ppo.export.vehicles.betaflight fly bundle=policies/uav_nav.onnx   # the vehicle, until interrupted

- `firmware`: fetches Betaflight's source from the package index and builds its software-in-the-loop target, once;
- `process`: starts the program, configures it over its command line, watches it;
- `settings`: how the firmware is configured for our vehicle, and which thrust its motor outputs make;
- `vehicle`: the task's own environment, with the firmware between the sticks and the rotors.

Betaflight is free software under the GPL, version 3: it stays a separate program that nothing here links or imports.
"""
