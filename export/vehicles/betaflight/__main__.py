"""Fetches and builds the firmware, or is the vehicle that it flies.

    python -m robo_ppo.export.vehicles.betaflight build
    python -m robo_ppo.export.vehicles.betaflight fly bundle=policies/uav_nav.onnx

`fly` is a vehicle for `python -m robo_ppo_onboard bundle=… link=betaflight source=mocap`; episode=3, randomization=none
and port=7700 (of the measurements) may follow. It stands on the floor until it is armed and lifted. It says what
happens, one JSON object in a line, the first of them with the words that the controller has to be told; and it reads
orders, one in a line: `begin` starts the task where the vehicle is, `stand 4` puts it on the floor below the place
where episode 4 begins, `hold 4` into a hand at that place (`begin` then throws it), `where` asks where it is, `quit`
ends it.
"""

import json
import select
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.export.vehicles.betaflight import firmware
from robo_ppo.export.vehicles.betaflight.process import Firmware
from robo_ppo.export.vehicles.betaflight.settings import COMMAND_LINE, thrust_map
from robo_ppo.export.vehicles.betaflight.vehicle import Vehicle, real_time, task_of
from robo_ppo.export.vehicles.settings import parse_settings
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.sources.mocap import PORT, MocapSender


@dataclass(frozen=True)
class Settings:
    """What may follow `fly`."""

    bundle: str = ""
    episode: int = 0
    randomization: str = ""  # none; empty: as the policy was trained
    port: int = PORT  # that the measurements are sent to


def main(arguments: list[str]) -> None:
    """Do what the first word says."""
    what, *rest = arguments or [""]
    if what == "build":
        print(firmware.build())
    elif what == "fly":
        fly(parse_settings(Settings, rest))
    else:
        raise UserError(f"'{what}': {did_you_mean(what, ('build', 'fly'))}")


def fly(settings: Settings) -> None:
    """Be the vehicle until told to quit, or until nobody is there to tell."""
    torch.set_num_threads(1)  # operations on one row take longer to share than to do
    if not settings.bundle:
        raise UserError("say whose task it is: bundle=<policy.onnx>")
    config = task_of(read_bundle(Path(settings.bundle)), settings.randomization or None)
    with Firmware(COMMAND_LINE) as running:
        vehicle = Vehicle(config, running, MocapSender(port=settings.port))
        real_time()
        throttle, measures = thrust_map(vehicle.loop.most), ",".join(vehicle.environment.measured)
        words = f"link=betaflight link.throttle={','.join(f'{value:.4g}' for value in throttle)} "
        words += f"source=mocap source.mocap.port={settings.port} source.mocap.measures={measures}"
        _say(event="ready", words=words, throttle=throttle, measures=measures)
        _say(event="stands", start=vehicle.stand(settings.episode), **_facts(vehicle))
        while True:
            known, stood = vehicle.outcome, vehicle.loop.stands
            vehicle.advance()
            if vehicle.outcome != known:
                _say(event="ended", outcome=vehicle.outcome, path=np.round(vehicle.path, 4).tolist(), **_facts(vehicle))
            if vehicle.loop.stands and not stood:
                _say(event="landed", speed=vehicle.loop.touchdown_speed, **_facts(vehicle))
            if stood and not vehicle.loop.stands:
                _say(event="airborne", **_facts(vehicle))
            for words in _orders():
                if words == ["quit"]:
                    return
                _obey(vehicle, words)


def _obey(vehicle: Vehicle, words: list[str]) -> None:
    """Do what a line says."""
    match words:
        case ["begin"]:
            vehicle.begin()
            _say(event="begun", **_facts(vehicle))
        case ["where"]:
            _say(event="where", **_facts(vehicle))
        case ["stand", number] if number.isdigit():
            _say(event="stands", start=vehicle.stand(int(number)), **_facts(vehicle))
        case ["hold", number] if number.isdigit():
            _say(event="held", start=vehicle.hold(int(number)), **_facts(vehicle))
        case _:
            _say(event="not understood", words=words, known=["begin", "stand 4", "hold 4", "where", "quit"])


def _facts(vehicle: Vehicle) -> dict[str, object]:
    """Where the vehicle is, and how well the machine keeps up."""
    loop = vehicle.loop
    qpos, outputs = (
        [round(float(value), 4) for value in values] for values in (loop.bind("qpos")[0, :7], loop.outputs)
    )
    return {"qpos": qpos, "outputs": outputs, "late": round(loop.late / max(1, loop.steps), 4)}


def _orders() -> list[list[str]]:
    """Lines that have arrived, as words; the end of them is an order to quit."""
    orders: list[list[str]] = []
    while select.select([sys.stdin], [], [], 0.0)[0]:
        line = sys.stdin.readline()
        if not line:
            return [*orders, ["quit"]]
        orders.append(line.split() or [""])
    return orders


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
