"""How a training would scale beyond this machine, on paper: `python -m benchmarks.scaling`.

Fits the model of `benchmarks.scaling.model` to what was measured on two cores, shows it beside every measured point,
and extrapolates to GPUs and machines that nobody has measured here, with figures that are assumed
(`benchmarks.scaling.assumed`) or, with `--gpu benchmarks/results/gpu_<card>.json`, measured for one card.

    --measure           measure what no other benchmark does, a minute, and no more
    --page FILE.md      put the tables into a page, each between <!-- its name --> and <!-- end -->

Draws benchmarks/results/scaling.png.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import file_name
from benchmarks.scaling import tables
from benchmarks.scaling.assumed import DRONE, HUMANOID
from benchmarks.scaling.fit import Measured, card_of, compare, fit
from benchmarks.scaling.measure import measure
from benchmarks.scaling.model import Card
from benchmarks.scaling.plot import draw

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Measure if asked to; fit, compare, extrapolate."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description="Beyond this machine, on paper.")
    parser.add_argument("--measure", action="store_true", help="sums and small numbers of worlds, on this machine")
    parser.add_argument("--repeats", type=int, default=5, help="of each part that is measured")
    parser.add_argument("--gpu", type=Path, help="what benchmarks.gpu wrote, instead of the assumed card for uav_nav")
    parser.add_argument("--page", type=Path, help="whose tables are brought up to date")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.measure:
        found = measure(arguments.repeats)
        path = arguments.out / file_name("scaling", found["machine"])
        path.write_text(json.dumps(found, indent=2) + "\n")
        print(path)
        return
    drone = card_of(json.loads(arguments.gpu.read_text()), DRONE) if arguments.gpu else DRONE
    shown = sections(Measured.read(RESULTS), (drone, HUMANOID))
    print("\n\n".join(shown.values()))
    draw((drone, HUMANOID), arguments.out / "scaling.png")
    if arguments.page:
        arguments.page.write_text(filled(arguments.page.read_text(), shown))


def sections(measured: Measured, cards: Sequence[Card]) -> dict[str, str]:
    """Every table by its name on the page."""
    fitted = fit(measured)
    return {
        "parameters": tables.parameters(fitted),
        "check": tables.check(compare(measured, fitted)),
        "ring": tables.ring(),
        "iterations": tables.iterations(cards),
        "efficiency": tables.weak_and_strong(cards),
        "levers": tables.levers(cards[0]),
    }


def filled(page: str, shown: dict[str, str]) -> str:
    """The page with every table in its place."""
    for name, text in shown.items():
        place = re.compile(rf"(?<=<!-- {name} -->\n\n).*?(?=\n\n<!-- end -->)", re.DOTALL)
        page, count = place.subn(lambda _, text=text: text, page)
        if count != 1:
            raise SystemExit(f"error: --page: there is not one place between <!-- {name} --> and <!-- end -->")
    return page


if __name__ == "__main__":
    main()
