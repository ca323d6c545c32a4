"""Our policies through Betaflight's own firmware, in real time; `robo_ppo.export.vehicles.betaflight` builds it."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robo_ppo.errors import UserError
from robo_ppo.export.vehicles.betaflight import firmware
from robo_ppo_onboard.contract import Array
from robo_ppo_onboard.controller import Tick
from robo_ppo_onboard.safety.table import State
from tests.export.vehicles.aloft import Aloft


def test_without_the_firmware_it_says_how_to_build_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(firmware.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"python -m robo_ppo\.export\.vehicles\.betaflight build"):
        firmware.find()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="gcc and make"):
        firmware.build()
    monkeypatch.setenv(firmware.VARIABLE, str(tmp_path / "none"))
    with pytest.raises(UserError, match="is no program"):
        firmware.find()


def test_the_shipped_policy_hovers_through_the_firmware() -> None:
    with Aloft("uav_hover", "none") as aloft:
        for _ in range(4):
            flown = aloft.fly(10)
            if flown.outcome == "success":
                assert flown.states()[:4] == [State.LAUNCH, State.READY, State.RAMP, State.POLICY]
                return
            assert flown.withheld > 0.02, flown.story()
    pytest.skip("a real-time test: the machine kept its processors from it in each of 4 flights")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["uav_hover", "uav_nav"])
@pytest.mark.parametrize(
    ("randomization", "thrown"),
    [("", True), ("none", False)],
    ids=["thrown as the task says, randomized", "from the floor"],
)
def test_twenty_of_twenty(task: str, randomization: str, thrown: bool) -> None:
    with Aloft(task, randomization) as aloft:
        flown = [aloft.fly(episode, thrown=thrown) for episode in range(20)]
    failed = [f"{episode}: {f.story()}" for episode, f in enumerate(flown) if f.outcome != "success"]
    assert not failed, "\n".join(failed)


@pytest.mark.slow
def test_when_the_controller_dies_the_firmware_levels_and_lands_the_vehicle() -> None:
    with Aloft("uav_nav", "none") as aloft:
        seen = aloft.order("stand 0")
        aloft.wait("stands", seen)
        since: list[float] = []

        def stop(tick: Tick) -> bool:
            if tick.state is State.POLICY and not since:
                since.append(tick.time)
            return (bool(since) and tick.time - since[0] > 0.5) or tick.state is State.LANDED

        with aloft.controller(launch_height_m=2.0) as (controller, _):
            last = controller.run(stop)
            assert last.state is State.POLICY
        # The link is closed now, in the middle of a flight and without a word.
        time.sleep(1.2)
        where = aloft.wait("where", aloft.order("where"))
        assert tilt(where["qpos"]) < math.radians(5.0) and where["qpos"][2] > 0.2
        landed = aloft.wait("landed", seen, within=10.0)
        assert landed["speed"] < 1.5 and tilt(landed["qpos"]) < math.radians(5.0)
        time.sleep(10.5)
        assert max(aloft.wait("where", aloft.order("where"))["outputs"]) == 0.0


@pytest.mark.slow
def test_a_policy_that_says_nothing_sensible_is_replaced_and_the_vehicle_lands_level() -> None:
    with Aloft("uav_hover", "none") as aloft:
        aloft.wait("stands", aloft.order("stand 10"))
        seen = len(aloft.events)

        def nonsense(measured: Mapping[str, Any], state: Array) -> tuple[dict[str, Array], Array]:
            commands, state = aloft.policy(measured, state)
            return {name: values * np.nan for name, values in commands.items()}, state

        with aloft.controller(launch_height_m=1.2, infer=nonsense) as (controller, _):
            controller.run()
        states = [change.after for change in controller.supervisor.changes]
        assert states == [State.LAUNCH, State.READY, State.RAMP, State.HOVER, State.DESCEND, State.LANDED]
        landed = aloft.wait("landed", seen)
        assert landed["speed"] < 1.0 and tilt(landed["qpos"]) < math.radians(5.0)


def tilt(qpos: list[float]) -> float:
    """Angle (rad) between body z and the vertical."""
    return math.acos(max(-1.0, min(1.0, 1.0 - 2.0 * (qpos[4] ** 2 + qpos[5] ** 2))))
