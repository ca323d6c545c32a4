"""Nothing that a reward program says is executed, and none takes down or stalls the process that reads it.

All programs of the corpus, and what a fuzzer makes of it, go through the parser and the dry run in a process that may
take 200 MB more and reports what it does to the interpreter (`sys.addaudithook`): opening, importing, executing.
"""

import json
import subprocess
import sys
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck

from robo_ppo.env.language import parse
from robo_ppo.errors import UserError
from tests.env.hostile_programs import SENTINEL, corpus, with_expression, with_statement
from tests.run.training import ROOT

MOST_SECONDS = 1.0
_HARNESS = """
import json, resource, sys, time
from robo_ppo.env.dry_run import DryRun
from robo_ppo.env.language import parse
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from tests.env.hostile_programs import corpus, with_expression

texts = corpus()
trial = DryRun(compose("task=uav_hover"))
trial(parse(with_expression("speed"), "warm_up.py"))  # imports what torch imports late
watched, events = False, []
def hook(event, arguments):
    # ast.parse is one `compile`; that no code object is ever executed is what matters. It looks for its file's text.
    looks = event == "open" and arguments[0] == "<reward program>"
    if watched and not looks and event not in ("compile", "builtins.id", "object.__getattr__"):
        events.append(f"{event} {arguments!r:.80}")
sys.addaudithook(hook)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() if sys.platform == "linux" else 0
if used:
    resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, resource.RLIM_INFINITY))
results = {}
for name, text in texts.items():
    watched, began = True, time.perf_counter()
    try:
        trial(parse(text, "hostile.py"))
        said = None
    except UserError as error:
        said = str(error)
    except BaseException as error:
        said = f"FAILED {type(error).__name__}: {error!s:.200}"
    seconds, watched = time.perf_counter() - began, False
    results[name] = {"said": said, "seconds": seconds, "events": events}
    events = []
print(json.dumps(results))
"""


def test_every_program_of_the_corpus_is_refused_and_does_nothing(tmp_path: Path) -> None:
    assert len(corpus()) >= 300
    command = [sys.executable, "-c", _HARNESS]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads(done.stdout)
    assert results.keys() == corpus().keys()
    accepted = [name for name, result in results.items() if result["said"] is None]
    unclear = {name: r["said"] for name, r in results.items() if r["said"] and "hostile.py:" not in r["said"]}
    slow = {name: result["seconds"] for name, result in results.items() if result["seconds"] > MOST_SECONDS}
    events = {name: result["events"] for name, result in results.items() if result["events"]}
    assert (accepted, unclear, slow) == ([], {}, {})
    assert not events
    assert not (tmp_path / SENTINEL).exists()
    assert not list(tmp_path.iterdir())


_ATOMS = st.sampled_from(
    "speed velocity success margin 1.0 0 -1 1e9 pi exp norm where clamp max ( ) [ ] { } , : . = == < > + - * / ** //"
    " % @ & | ~ ^ not and or if else lambda for in is None True return def class import : \n \t # ' \" \\ $ ; := -> ..."
    " __class__ velocity[:,0] velocity[:,:2] exp(speed) (speed) [0] \0 é ｅ".split(" ")
)
_SOUP = st.lists(_ATOMS, max_size=40).map(" ".join)


def attack(text: str) -> None:
    """Anything may come out but a refusal or a program."""
    try:
        program = parse(text, "fuzz.py")
    except UserError as error:
        assert str(error).startswith("fuzz.py:")
    else:
        assert program.functions.keys() <= program.weights.keys()


def _fuzz(examples: int) -> None:
    settings = hypothesis.settings(
        max_examples=examples,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        derandomize=examples < 1000,
    )

    @settings
    @hypothesis.given(st.one_of(_SOUP.map(with_expression), _SOUP.map(with_statement), _SOUP, st.text(max_size=400)))
    def run(text: str) -> None:
        attack(text)

    run()


def test_the_parser_withstands_what_a_fuzzer_makes_up() -> None:
    _fuzz(300)


def test_the_parser_withstands_the_corpus_broken_at_every_place() -> None:
    for number, text in enumerate(corpus().values()):
        attack(text[: 17 * number % max(len(text), 1)])


@pytest.mark.slow
def test_the_parser_withstands_ten_minutes_of_fuzzing() -> None:
    import time

    began = time.monotonic()
    while time.monotonic() - began < 600.0:
        _fuzz(20_000)
