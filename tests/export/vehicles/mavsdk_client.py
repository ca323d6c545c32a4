"""MAVSDK, which knows nothing of us, flies the simulated vehicle: connects, arms, takes off, offboard rates, lands.

Run as a process of its own (its library is native code with threads): prints what it saw as one line of JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from mavsdk import ComponentType, Configuration, Mavsdk
from mavsdk.plugins.action.action import Action
from mavsdk.plugins.offboard.offboard import AttitudeRate, Offboard, VelocityNedYaw
from mavsdk.plugins.param.param import Param
from mavsdk.plugins.telemetry.telemetry import Telemetry


def main(address: str) -> None:
    seen: dict[str, Any] = {}
    client: Any = Mavsdk(Configuration.create_with_component_type(ComponentType.GROUND_STATION))
    client.add_any_connection(address)
    system: Any = client.first_autopilot(60.0)
    seen["connected"] = system is not None and system.is_connected()
    action, offboard, telemetry, parameters = Action(system), Offboard(system), Telemetry(system), Param(system)
    seen["parameter"] = parameters.get_param_float("COM_OF_LOSS_T")
    parameters.set_param_int("COM_OBL_RC_ACT", 4)
    seen["set_parameter"] = parameters.get_param_int("COM_OBL_RC_ACT")
    seen["offboard_without_setpoints"] = attempt(offboard.start)
    action.arm()
    until(lambda: telemetry.armed())
    action.takeoff()
    until(lambda: telemetry.flight_mode().name == "HOLD" and height(telemetry) > 1.0)
    seen["height"] = height(telemetry)
    seen["in_air"] = telemetry.in_air()
    offboard.set_velocity_ned(VelocityNedYaw(0.0, 0.0, -0.3, 0.0))
    offboard.start()
    until(lambda: telemetry.flight_mode().name == "OFFBOARD")
    until(lambda: height(telemetry) > seen["height"] + 0.15)
    seen["climbing"] = -telemetry.position_velocity_ned().velocity.down_m_s
    offboard.set_attitude_rate(AttitudeRate(0.0, 0.0, 45.0, hover()))
    until(lambda: yaw_rate(telemetry) > 0.6)
    seen["turning"] = yaw_rate(telemetry)
    offboard.stop()
    action.land()
    until(lambda: not telemetry.armed())
    seen["landed"] = telemetry.landed_state().name
    seen["battery"] = telemetry.battery().remaining_percent
    print(json.dumps(seen), flush=True)


def hover() -> float:
    """Part of full throttle at which a Crazyflie hovers: weight over the largest thrust."""
    return 0.04338 * 9.81 / 0.8


def height(telemetry: Any) -> float:
    return -telemetry.position_velocity_ned().position.down_m


def yaw_rate(telemetry: Any) -> float:
    return telemetry.attitude_angular_velocity_body().yaw_rad_s


def attempt(do: Callable[[], object]) -> str:
    try:
        do()
    except Exception as error:
        return type(error).__name__
    return ""


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
