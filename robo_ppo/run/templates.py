"""HTML from the templates that lie beside the code: escaped, and an error where a value is missing."""

import functools

import jinja2

from robo_ppo.run import palette

_HERE = "robo_ppo.run"


@functools.cache
def template(path: str, package: str = _HERE) -> jinja2.Template:
    """The template at a path below a package, with the filters `number`, `percent` and `label` and the palette.

    What it includes may lie there or here.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(place, ".") for place in dict.fromkeys([package, _HERE])]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": _number, "percent": _percent, "label": palette.outcome_label}
    return environment.get_template(path, globals={"palette": palette})


def _number(value: object) -> str:
    """A number for a reader: 16,000,000 or 0.0123; a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _percent(value: object) -> str:
    """A share as per cent with one decimal: 0.963 is "96.3 %"."""
    return f"{value:.1%}".replace("%", "\N{NO-BREAK SPACE}%") if isinstance(value, int | float) else "–"
