"""`docs/crazyflie.md` has what the link has: parameters with their values, settings with their defaults, orders."""

import inspect
import re
from pathlib import Path

from robo_ppo_onboard.links.crazyflie import PARAMETERS, CrazyflieLink
from robo_ppo_onboard.vehicle import Order

PAGE = (Path(__file__).parents[4] / "docs/crazyflie.md").read_text()
ROWS = [[cell.strip() for cell in row.strip("|").split("|")] for row in PAGE.splitlines() if row.startswith("| `")]


def test_every_parameter_is_told_with_its_value() -> None:
    told = {
        name: row[1] for row in ROWS for name in re.findall(r"`(\w+\.\w+)`", row[0]) if not name.startswith("link.")
    }
    assert told == {parameter: str(value) for parameter, value, _, _ in PARAMETERS}


def test_every_setting_is_told() -> None:
    told = {name for row in ROWS for name in re.findall(r"`link\.(\w+)`", row[0])}
    assert told == set(inspect.signature(CrazyflieLink).parameters)


def test_every_order_is_told() -> None:
    assert [order.name for order in Order] == [row[0].strip("`") for row in ROWS if row[0].strip("`").isupper()]
