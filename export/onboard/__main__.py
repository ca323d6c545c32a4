"""`python -m robo_ppo_onboard bundle=policy.onnx link=mavlink`: flies a policy on a vehicle."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Sequence

from .bundle import read_bundle
from .controller import Controller, Tick, Watcher
from .errors import UserError
from .flight_log import FlightLog, StatusLine
from .links.link import Link
from .operator import LandOnInterrupt, Operator, Plan, Terminal
from .runtime import Policy
from .safety.limits import Limits, read_limits
from .settings import Settings, make_link, make_sources, parse


def main(words: Sequence[str]) -> int:
    """Fly; 0 after a landing, 2 after a person's mistake, 130 after Ctrl-C."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(f"{__doc__}\n\nSettings, each as name=value:\n")
        print("\n".join(f"  {name}" for name in vars(Settings()) if name != "settings"))
        print("  link.… source.<name>.…   of the link's and the sources' own")
        return 0 if words else 2
    try:
        fly(parse(words))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; in the air, the vehicle's own failsafe acts now", file=sys.stderr)
        return 130
    return 0


def fly(settings: Settings) -> Tick:
    """One flight, from opening the link to the landing."""
    policy = Policy(read_bundle(settings.bundle))
    contract = policy.contract
    limits = Limits.of(contract, read_limits(settings.limits) if settings.limits else None)
    link = make_link(settings)
    sources = make_sources(settings, link)
    with ExitStack() as stack:
        lines = StatusLine()
        stack.callback(lines.close)
        plan = Plan(launch=settings.launch, land_after=settings.land_after or None)
        operator: Operator = LandOnInterrupt(plan if settings.plan else Terminal(lines.say), lines.say)
        watchers: list[Watcher] = [lines]
        if settings.log:
            log = FlightLog(Path(settings.log) / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}.csv", contract)
            stack.callback(log.close)
            watchers.append(log)
            lines.say(f"flight log: {log.path}")
        stack.callback(link.close)
        link.open(contract)
        for source in sources:
            if not isinstance(source, Link):  # which is open
                stack.callback(source.close)
                source.open(contract)
        controller = Controller(policy, link, sources, operator=operator, limits=limits, watchers=watchers)
        stack.callback(controller.close)
        controller.warm_up()
        for sentence in link.prepare():
            lines.say(sentence)
        controller.add_watcher(lambda tick: [lines.say(f"warning: {news}") for news in controller.comparison.news()])
        return controller.run()


def console() -> None:
    """`robo-ppo-onboard` on the command line."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    console()
