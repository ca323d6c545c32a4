"""`play.py`: choose what flies, refuse what cannot, and open the live view.

    python play.py run=latest                        the exported policy of a run, in its task
    python play.py bundle=policy.onnx                an exported policy, in the task that it was trained on
    python play.py task=uav_nav agent=zero           the task that is composed here
    python play.py dump=<run>/broken_worlds/….pt     the last step of a world that broke in training

It ends with Ctrl-C, as there is no other way to end it: with exit code 0.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from robo_ppo.config import PlayConfig, RunConfig, parse_config
from robo_ppo.env.build import is_foreign
from robo_ppo.env.environment import Environment
from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.run import folder as folders
from robo_ppo.run.evaluate import BUNDLE, OnnxPilot, evaluated_split
from robo_ppo.run.live.pilots import Pilot, RandomPilot, ZeroPilot
from robo_ppo.run.live.player import Player
from robo_ppo.run.live.replay import load
from robo_ppo.run.live.server import require_viser, serve
from robo_ppo.run.live.session import Session
from robo_ppo_onboard.bundle import Bundle, read_bundle

AGENTS = ("policy", "zero", "random")
SOURCES = ("run", "bundle", "dump")

# What may be said besides where the task comes from; everything else is the task's own.
_PAGE = frozenset(("host", "port", "open", "view"))
_FLIGHT = frozenset(("runs", "agent", "episode", "split", "randomization"))
_ALLOWED = {"run": _FLIGHT | _PAGE, "bundle": _FLIGHT | _PAGE, "dump": _PAGE}


@dataclass(frozen=True)
class Flight:
    """What is to be flown: a task, and the exported policy where one was asked for."""

    config: RunConfig
    bundle: Bundle | None = None


def run(config: PlayConfig, overrides: list[str]) -> None:
    """Fly until interrupted; `overrides` are the arguments as the person wrote them."""
    torch.set_num_threads(1)  # operations on one row take longer to share than to do
    source = _source(config, overrides)
    with contextlib.suppress(KeyboardInterrupt):
        if source == "dump":
            _replay(config)
        elif not config.view:
            raise UserError("view=false is for dump=…, which has a table to print; evaluate.py flies without a page")
        else:
            require_viser()
            flight = choose(config, source)
            if source is not None and "randomization" in _keys(overrides):
                _refuse_half_a_randomization(overrides)
                flight.config.randomization = config.randomization
            _fly(flight, config)


def choose(config: PlayConfig, source: str | None) -> Flight:
    """The task and the policy that a configuration asks for."""
    agent = config.agent or "policy"
    if agent not in AGENTS:
        raise UserError(f"agent={agent}: {did_you_mean(agent, AGENTS)}")
    if source == "run":
        folder = folders.find(config.run or "", config.runs)
        task, policy = folders.load_config(folder), lambda: _policy_of(folder)
    elif source == "bundle":
        path = folders.find_bundle(config.bundle or "")
        bundle = read_bundle(path)
        task, policy = parse_config(bundle.contract.training.config, str(path)), lambda: bundle
    else:
        task, policy = config, lambda: _shipped_policy(config.task.name)
    if is_foreign(task):
        raise UserError(
            f"play.py flies tasks of signals, and the environments of {task.task.name} are another library's; "
            "evaluate.py films them"
        )
    return Flight(task, policy() if agent == "policy" else None)


def _source(config: PlayConfig, overrides: list[str]) -> str | None:
    """Where the task comes from: run, bundle, dump, or (None) what is composed; refuses what then cannot apply."""
    named = [name for name in SOURCES if getattr(config, name) is not None]
    if len(named) > 1:
        raise UserError(f"{named[0]}=… and {named[1]}=… are two things to look at; name one of them")
    if not named:
        return None
    (source,) = named
    for key, text in zip(_keys(overrides), overrides, strict=True):
        if key != source and key not in _ALLOWED[source]:
            raise UserError(
                f"{source}=… is flown as it was trained, so {text} cannot apply; "
                f"what can: {', '.join(sorted(_ALLOWED[source]))}"
            )
    return source


def _refuse_half_a_randomization(overrides: list[str]) -> None:
    """A single number of it cannot be changed without saying of which: a run's own is not composed here."""
    if not any(text.startswith("randomization=") for text in overrides):
        raise UserError("say which randomization is changed: randomization=nominal, none or strong besides")


def _keys(overrides: list[str]) -> list[str]:
    """The first name of each override: `+task.settings.x=1` gives `task`."""
    return [text.lstrip("+~").split("=")[0].split(".")[0].split("@")[0] for text in overrides]


def _policy_of(folder: Path) -> Bundle:
    if not (folder / BUNDLE).exists():
        raise UserError(
            f"{folder} has no {BUNDLE}, written when training ends; python train.py resume={folder} goes on, "
            "agent=zero or agent=random fly without it"
        )
    return read_bundle(folder / BUNDLE)


def _shipped_policy(task: str) -> Bundle:
    shipped = folders.shipped_policies()
    if task not in shipped:
        raise UserError(
            f"no policy for {task} comes with robo_ppo; say what flies: run=latest, bundle=<policy.onnx>, agent=zero "
            "or agent=random"
        )
    return read_bundle(shipped[task])


def _fly(flight: Flight, config: PlayConfig) -> None:
    from robo_ppo.run.live.page import Page

    session = Session(flight.config, evaluated_split(config.split), _pilots(flight, config.agent))
    session.begin(config.episode)
    pilot = "exported policy" if flight.bundle is not None else f"agent={config.agent}"
    title = f"{flight.config.task.name}, {pilot}"
    with serve(config.host, config.port, show=config.open, title=title) as server:
        Page(server, Player(session), title).run()


def _pilots(flight: Flight, agent: str | None) -> Callable[[Environment], Pilot]:
    bundle, seed = flight.bundle, flight.config.seed
    if bundle is not None:
        return lambda environment: OnnxPilot(environment, bundle)
    return (lambda environment: RandomPilot(environment, seed)) if agent == "random" else ZeroPilot


def _replay(config: PlayConfig) -> None:
    """Print the last step of a broken world, then show it."""
    replay = load(config.dump or "")
    print(replay.table(), flush=True)
    if config.view:
        require_viser()
        from robo_ppo.run.live.replay_page import ReplayPage

        title = f"{replay.environment.task.robot.name}, a world that broke"
        with serve(config.host, config.port, show=config.open, title=title) as server:
            ReplayPage(server, replay).run()
