"""`python -m robo_ppo_onboard bundle=policy.onnx link=mavlink`: flies a policy on a vehicle."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Sequence

from .bundle import read_bundle
from .controller import Controller, Tick
from .errors import UserError
from .flight_log import FlightLog, StatusLine
from .links.link import Link
from .operator import LandOnInterrupt, Operator, Plan, Terminal
from .runtime import Policy
from .safety.limits import Limits, read_limits
from .settings import LINKS, SOURCES, Settings, make_link, make_sources, parse

USAGE = f"""\
usage: python -m robo_ppo_onboard bundle=<policy.onnx> link={"|".join(LINKS)} [name=value …]

  source=link,constant        where measurements come from: link (its own state), {", ".join(SOURCES)}
  limits=<room.yaml>          narrower limits than the bundle's
  log=flights                 folder of flight logs; empty: none
  plan=true                   launch, engage and land without being asked; else say so: launch, engage, release, land
  launch=false                of the plan: the vehicle is in the air already
  land_after=30               of the plan: seconds with the policy
  link.address=…              settings of the link, and source.<name>.… of the sources"""


def main(words: Sequence[str]) -> int:
    """Fly; 0 after a landing, 2 after a person's mistake, 3 where the motors are still armed, 130 after Ctrl-C."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if words else 2
    try:
        last = fly(parse(words))
        if last.status.armed:
            print("error: the vehicle is still armed, though it was told to stop its motors", file=sys.stderr)
            return 3
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
        stack.callback(link.close)
        link.open(contract)
        for source in sources:
            if not isinstance(source, Link):  # which is open
                stack.callback(source.close)
                source.open(contract)
        controller = Controller(policy, link, sources, operator=operator, limits=limits, watchers=[lines])
        stack.callback(controller.close)
        controller.warm_up()
        if settings.log:
            log = FlightLog(Path(settings.log) / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}.csv", contract)
            stack.callback(log.close)
            controller.add_watcher(log)
            lines.say(f"flight log: {log.path}")
        for sentence in link.prepare():
            lines.say(sentence)
        controller.add_watcher(lambda tick: [lines.say(f"warning: {news}") for news in controller.comparison.news()])
        return controller.run()


def console() -> None:
    """`robo-ppo-onboard` on the command line."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    console()
