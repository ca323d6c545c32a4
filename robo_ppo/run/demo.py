"""A flight through a real protocol: vehicle and controller as two processes, then figures, plots and a film of it.

    python -m robo_ppo.export.demo bundle=uav_nav link=mavlink episode=3

The simulated vehicle (`robo_ppo.export.vehicles`) stands on the ground where a test episode of the policy's task
begins. The controller (`python -m robo_ppo_onboard`) lets it take off by itself, takes over in the air, flies the task,
and has it land. Everything runs in real time. Written are `runs/<task>_demo/…/`: `metrics.json`, `trajectories.png`,
`commands.png`, `latencies.png`, `video.mp4`, the controller's flight log and the vehicle's recording.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robo_ppo.config import RunConfig, parse_config
from robo_ppo.env.build import make_task
from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.export.vehicles.lockstep import free_port
from robo_ppo.export.vehicles.process import VehicleProcess
from robo_ppo.export.vehicles.settings import parse_settings
from robo_ppo.run import folder as folders
from robo_ppo.run.flight_figures import commands, latencies
from robo_ppo.run.flight_record import measures, read_log, trace_of
from robo_ppo.run.plots import trajectories
from robo_ppo.run.video import RenderingUnavailable, film
from robo_ppo_onboard.bundle import Bundle, read_bundle

TAKING_OFF_AND_LANDING = 60.0  # s, at most


@dataclass(frozen=True)
class Settings:
    """What the command line may say."""

    bundle: str = "uav_nav"
    link: str = "mavlink"
    episode: int = 0
    seconds: float = 0.0  # with the policy; 0: as long as an episode of the task
    limits: str = ""  # a file of limits for the controller
    video: bool = True
    video_seconds: float = 20.0
    runs: str = "runs"


@dataclass(frozen=True)
class Vehicle:
    """How a protocol's simulated vehicle and the controller find each other, at a port that is free."""

    module: str
    vehicle: str
    controller: str


VEHICLES = {
    "mavlink": Vehicle(
        "robo_ppo.export.vehicles.mavlink",
        vehicle="address=udpout:127.0.0.1:{port}",
        controller="link.address=udpin:127.0.0.1:{port}",
    ),
}
"""By the name of the link."""


def main(words: Sequence[str]) -> int:
    """The command: 0 after a flight, whatever became of it; 2 after a person's mistake."""
    if "-h" in words or "--help" in words:
        print(__doc__)
        return 0
    try:
        demonstrate(parse_settings(Settings, words))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def demonstrate(settings: Settings) -> Path:
    """Fly, and write everything that there is to see; the folder."""
    if settings.link not in VEHICLES:
        raise UserError(f"link={settings.link} has no simulated vehicle; {did_you_mean(settings.link, VEHICLES)}")
    path = folders.find_bundle(settings.bundle)
    bundle = read_bundle(path)
    config = parse_config(bundle.contract.training.config, str(path))
    folder = folders.create(settings.runs, f"{config.task.name}_demo", latest=False)
    fly(settings, path, folder, settings.seconds or config.task.episode_seconds)
    write(folder, config, bundle, settings)
    return folder


def fly(settings: Settings, bundle: Path, folder: Path, seconds: float) -> None:
    """One flight, recorded into the folder by both sides."""
    protocol, port = VEHICLES[settings.link], free_port()
    words = (f"bundle={bundle}", f"episode={settings.episode}", f"out={folder}", protocol.vehicle.format(port=port))
    with VehicleProcess(protocol.module, *words) as vehicle:
        print("starting the vehicle …", flush=True)
        vehicle.wait_for("ready")
        plan = (f"log={folder}", "plan=true", f"land_after={seconds:g}")
        limits = (f"limits={settings.limits}",) if settings.limits else ()
        command = [sys.executable, "-m", "robo_ppo_onboard", f"bundle={bundle}", f"link={settings.link}"]
        command += [protocol.controller.format(port=port), *plan, *limits]
        try:
            code = subprocess.run(command, timeout=seconds + TAKING_OFF_AND_LANDING, check=False).returncode
        except subprocess.TimeoutExpired as error:
            raise UserError(f"the flight was not over after {error.timeout:g} s; is this machine too busy?") from error
        if code != 0:
            raise UserError("the controller did not fly; its message is above")


def write(folder: Path, config: RunConfig, bundle: Bundle, settings: Settings) -> None:
    """Figures, plots and a film from what was recorded."""
    task = make_task(config)
    trace = trace_of(folder, task)
    log = read_log(folder)
    told: dict[str, Any] = {"task": config.task.name, "link": settings.link, "episode": settings.episode}
    found = {**told, "sha256": bundle.contract.sha256, **measures(folder, task, log)}
    (folder / "metrics.json").write_text(json.dumps(found, indent=2) + "\n")
    trajectories([trace], folder / "trajectories.png")
    commands(log, bundle.contract, folder / "commands.png")
    latencies(log, bundle.contract, folder / "latencies.png")
    if settings.video:
        try:
            film(folder / "video.mp4", task.robot.spec(), [trace], max_seconds=settings.video_seconds)
        except RenderingUnavailable as error:
            print(f"no film: {error}", file=sys.stderr)
    print(f"{found['outcome']} after {found['seconds']:.2f} s with the policy: {folder}")
    print(f"the safety net took over: {'; '.join(found['taken_over']) or 'never'}")
