"""The command line of the controller."""

import subprocess
import sys
from pathlib import Path

import pytest

from robo_ppo_onboard.__main__ import main
from robo_ppo_onboard.errors import UserError
from robo_ppo_onboard.settings import LINKS, SOURCES, make, parse, value_of
from robo_ppo_onboard.sources.constant import ConstantSource
from robo_ppo_onboard.sources.source import Source


def test_words_become_settings() -> None:
    found = parse(
        ["bundle=p.onnx", "link=mavlink", "land_after=30", "plan=true", "link.address=udp:1", "source.x.goal=1,2"]
    )
    assert (found.bundle, found.link, found.land_after, found.plan) == ("p.onnx", "mavlink", 30, True)
    assert found.settings == {"link.address": "udp:1", "source.x.goal": (1.0, 2.0)}


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("3", 3), ("0.5", 0.5), ("1,2,3", (1.0, 2.0, 3.0)), ("udpin:0.0.0.0", "udpin:0.0.0.0")],
)
def test_values_have_the_kind_that_they_look_like(text: str, value: object) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bundle"], "'bundle': expected name=value"),
        (["bundel=x"], "there is no setting 'bundel'; did you mean bundle"),
        (["bundle=x"], "say what to fly: link=betaflight or link=crazyflie or link=mavlink"),
        (["link=mavlink"], "say what to fly: bundle=policy.onnx"),
        (["bundle=x", "link=mavlink", "plan=3"], "plan=3: expected true or false"),
        (["bundle=x", "link=mavlink", "land_after=soon"], "land_after=soon: expected a number"),
    ],
)
def test_what_means_nothing_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(words)


def test_settings_of_a_class_are_its_keyword_parameters() -> None:
    table = {"constant": SOURCES["constant"], "simulated": ("links.simulated", "SimulatedLink")}
    source = make(table, "constant", {"goal": (1.0, 2.0, 3.0)}, "source", Source)
    assert isinstance(source, ConstantSource)
    with pytest.raises(UserError, match="source=simulated has no setting 'address'; known: flies_itself"):
        make(table, "simulated", {"address": "x"}, "source", Source)
    with pytest.raises(UserError, match="did you mean constant"):
        make(table, "constnat", {}, "source", Source)


def test_every_link_and_source_that_is_named_is_there() -> None:
    import robo_ppo_onboard

    folder = Path(robo_ppo_onboard.__file__).parent
    for module, name in (*LINKS.values(), *SOURCES.values()):
        text = (folder / (module.replace(".", "/") + ".py")).read_text()
        assert f"class {name}(" in text


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"bundle={tmp_path / 'no.onnx'}", "link=mavlink"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: cannot read the policy bundle") and error.count("\n") == 1
    assert main([]) == 2
    assert main(["--help"]) == 0


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "robo_ppo_onboard", "bundle=x.onnx", "link=mavlnk"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
