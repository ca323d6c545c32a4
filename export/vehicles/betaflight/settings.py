"""How the firmware is set up for our Crazyflie, and what its motor outputs do.

`COMMAND_LINE` holds the lines of the firmware's own command line that differ from its defaults; docs/betaflight.md has
the reasons. `thrust_map` says which thrust comes of which throttle: the link is told that.
"""

import numpy as np
from numpy.typing import NDArray

RATE_LIMIT = (350, 350, 180)  # deg/s at full stick, a little above what the trained policies command

COMMAND_LINE: tuple[str, ...] = (
    # Sticks: linear in the rate, nothing between the stick and the loop.
    "set rates_type = ACTUAL",
    *(
        f"set {axis}_{what} = {value}"
        for axis, limit in zip(("roll", "pitch", "yaw"), RATE_LIMIT, strict=True)
        for what, value in (("rc_rate", limit // 10), ("srate", limit // 10), ("expo", 0))
    ),
    "set rc_smoothing = OFF",
    "set serial_update_rate_hz = 1000",  # MSP is read every millisecond
    # Switches: AUX1 arms, AUX2 levels.
    "aux 0 0 0 1700 2100 0 0",
    "aux 1 1 1 1700 2100 0 0",
    "set small_angle = 180",  # flights may begin tilted
    "set pwr_on_arm_grace = 0",
    "set runaway_takeoff_prevention = OFF",
    # The rate loop: proportional and derivative, for rotors with a lag of 66 ms.
    "set simplified_pids_mode = OFF",
    "set simplified_gyro_filter = OFF",
    "set simplified_dterm_filter = OFF",
    *(
        f"set {term}_{axis} = {gain}"
        for axis, gains in (("roll", (58, 0, 104, 0)), ("pitch", (65, 0, 116, 0)), ("yaw", (61, 0, 123, 0)))
        for term, gain in zip("pidf", gains, strict=True)
    ),
    "set d_max_roll = 0",
    "set d_max_pitch = 0",
    "set d_max_yaw = 0",
    "set anti_gravity_gain = 0",
    "set throttle_boost = 0",
    "set tpa_rate = 0",
    "set gyro_lpf1_dyn_min_hz = 0",
    "set gyro_lpf1_static_hz = 250",
    "set gyro_lpf2_static_hz = 0",
    "set dterm_lpf1_dyn_min_hz = 0",
    "set dterm_lpf1_static_hz = 100",
    "set dterm_lpf2_static_hz = 0",
    "set yaw_lowpass_hz = 0",
    "set pidsum_limit = 1000",
    "set pidsum_limit_yaw = 1000",
)

# What the firmware puts out (0 to 1) at no throttle and at full: its idle, and everything.
IDLE, FULL = 0.055, 1.0


def thrust_map(most: float, points: int = 11) -> tuple[float, ...]:
    """The link's setting `throttle` for a vehicle whose rotors give `most` (N) each: N, throttle, N, throttle, and on.

    Measured on a real vehicle; here it follows from the mixer, which puts out idle + throttle · (full - idle).
    """
    throttle = np.linspace(0.0, 1.0, points)
    collective = 4.0 * thrust(IDLE + (FULL - IDLE) * throttle, most)
    return tuple(float(value) for pair in zip(collective, throttle, strict=True) for value in pair)


def thrust(outputs: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """Thrust of each rotor (N) from the firmware's outputs in [0, 1]: its square, since a rotor's speed follows it."""
    return most * np.square(np.clip(outputs, 0.0, 1.0))
