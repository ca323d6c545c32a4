"""How punctual the onboard controller is, beside a loop that does nothing: `python -m benchmarks.tick [--seconds 60]`.

The controller flies a vehicle in the same process with a bundle's policy, as on board: sources, supervisor, the policy
in its worker, flight log on disk. Timed is how long after its time each setpoint leaves. The loop that does nothing
sleeps on the same clock and notes when it wakes: what is left is the controller's own. Both run in turn, in stretches,
since a machine has quiet and loud minutes.

Writes benchmarks/results/tick_<machine>.json.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from benchmarks.machine import file_name, machine
from robo_ppo.run.folder import find_bundle
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.clock import WallClock
from robo_ppo_onboard.controller import Controller, Tick
from robo_ppo_onboard.flight_log import FlightLog
from robo_ppo_onboard.links.simulated import SimulatedLink
from robo_ppo_onboard.operator import Plan
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.safety.limits import Limits
from robo_ppo_onboard.safety.table import State
from robo_ppo_onboard.vehicle import Sample, Setpoint, Status

RESULTS = Path(__file__).parent / "results"
STRETCH = 10.0  # s
PARTS = (50.0, 99.0, 99.9, 100.0)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tick", description="A controller's ticks, and none.")
    parser.add_argument("--bundle", default="uav_nav")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each loop")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    results = measure(Policy(read_bundle(find_bundle(arguments.bundle))), arguments.seconds)
    results |= {"bundle": arguments.bundle, "seconds": arguments.seconds, "machine": machine()}
    print(table(results))
    path = arguments.out / file_name("tick", results["machine"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\n{path}")


def measure(policy: Policy, seconds: float) -> dict[str, Any]:
    """Milliseconds after its time at which each setpoint left, and at which an empty loop woke: percentiles."""
    late: dict[str, list[float]] = {"controller": [], "nothing": []}
    answers: list[float] = []
    stretches = max(1, round(seconds / STRETCH))
    count = max(1, round(seconds / stretches / policy.contract.control_period))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(stretches):
            for name in sorted(late, reverse=bool(number % 2)):
                if name == "controller":
                    _fly(policy, count, Path(folder) / f"{number}.csv", late[name], answers)
                else:
                    _sleep(policy.contract.control_period, count, late[name])
    found = {name: _percentiles(values) for name, values in late.items()}
    beyond = found["controller"]["99.9"] - found["nothing"]["99.9"]
    return {"late_ms": found, "policy_ms": _percentiles(answers), "beyond_an_empty_loop_ms": beyond}


def table(results: dict[str, Any]) -> str:
    """What was measured, for the terminal."""
    rows = {"setpoint leaves": "controller", "empty loop wakes": "nothing"}
    lines = [f"{'ms after its time':18}" + "".join(f"{part:>9g} %" for part in PARTS)]
    for label, name in rows.items():
        lines.append(f"{label:18}" + "".join(f"{results['late_ms'][name][f'{part:g}']:11.3f}" for part in PARTS))
    lines.append(f"{'policy, of that':18}" + "".join(f"{results['policy_ms'][f'{part:g}']:11.3f}" for part in PARTS))
    return "\n".join([*lines, f"99.9 %: {results['beyond_an_empty_loop_ms']:.3f} ms beyond an empty loop"])


class _Vehicle(SimulatedLink):
    """Stands still in the air; its state comes at 200 Hz; notes when it is told something."""

    def __init__(self, policy: Policy, clock: WallClock) -> None:
        super().__init__()
        self.open(policy.contract)
        golden = policy.contract.golden.inputs
        self._values = [(name, tuple(values[0].flatten().tolist())) for name, values in golden.items()]
        self._clock = clock
        self.told = 0.0

    @override
    def poll(self) -> list[Sample]:
        now = self._clock.now()
        return [Sample(name, v, now - 0.005 * part) for part in (3, 2, 1, 0) for name, v in self._values]

    @override
    def status(self, now: float) -> Status:
        return Status(heard=now, armed=True, flying=True)

    @override
    def send(self, setpoint: Setpoint, now: float) -> None:
        self.told = self._clock.now()


def _fly(policy: Policy, count: int, log: Path, late: list[float], answers: list[float]) -> None:
    clock = WallClock()
    vehicle = _Vehicle(policy, clock)
    writer = FlightLog(log, policy.contract)
    seen = 0

    def note(tick: Tick) -> None:
        nonlocal seen
        seen += 1
        if tick.state is not State.POLICY:
            raise RuntimeError(f"the safety net took over: {tick.fault}")
        late.append(1e3 * (vehicle.told - tick.time + tick.late))
        if tick.answer is not None:
            answers.append(1e3 * tick.answer.seconds)

    plan = Plan(launch=False)
    # A loud machine shall show in the figures, not end the flight.
    forgiving = {"max_overrun": 1e6, "max_age_s": 1e6, "max_missed_deadlines": 10**6}
    controller = Controller(
        policy,
        vehicle,
        [vehicle],
        operator=plan,
        limits=Limits.of(policy.contract, forgiving),
        clock=clock,
        watchers=[note, writer],
        start=State.POLICY,
    )
    controller.warm_up()
    controller.run(lambda tick: seen >= count)
    controller.close()
    writer.close()


def _sleep(period: float, count: int, late: list[float]) -> None:
    clock = WallClock()
    due = clock.now()
    for _ in range(count):
        clock.sleep_until(due)
        late.append(1e3 * (clock.now() - due))
        due = max(due + period, clock.now())


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"{part:g}": float(np.percentile(values, part)) for part in PARTS}


if __name__ == "__main__":
    main()
