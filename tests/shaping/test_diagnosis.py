"""What a diagnosis says of policies that were written down, against plain loops over the steps that they flew."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robo_ppo.env import build as building
from robo_ppo.env.build import build, make_task
from robo_ppo.env.language import applied, parse
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from robo_ppo.run.rendering import RenderingUnavailable
from robo_ppo.shaping.diagnosis import diagnose
from robo_ppo.shaping.packets import pictures
from robo_ppo.shaping.packets.packet import Packet, read_packet
from robo_ppo.shaping.packets.rules import rules
from tests.run.by_hand import hovering
from tests.run.conftest import trace
from tests.shaping.packets import config_of, hovering_above, run_of

EPISODES = 24
CONFIG = config_of("reward=uav_hover")
ROWS = [{"step": float(100 * i), "train/return": float(i), "reward/progress": 2.0 * i} for i in range(1, 31)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("run") / "run", CONFIG, hovering(CONFIG), ROWS)


@pytest.fixture(scope="module")
def packet(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Packet:
    return diagnose(CONFIG, run, tmp_path_factory.mktemp("diagnosis"), episodes=EPISODES)


@dataclasses.dataclass
class Flight:
    """One episode of the plain loop."""

    outcome: str = ""
    terms: dict[str, float] = dataclasses.field(default_factory=dict)
    actions: list[np.ndarray] = dataclasses.field(default_factory=list)
    speeds: list[float] = dataclasses.field(default_factory=list)
    near: int = 0


@pytest.fixture(scope="module")
def flights() -> list[Flight]:
    """The same episodes, step by step and number by number."""
    environment = build(
        CONFIG, "validation", EPISODES, episodes=EPISODES, extra_signals=("goal_distance", "speed", "position")
    )
    model = hovering(CONFIG)
    found = [Flight() for _ in range(EPISODES)]
    observation = environment.reset()
    for _ in range(environment.max_episode_steps):
        with torch.no_grad():
            action = model.actor(model.normalizer("policy")(observation["policy"]))
        transition = environment.step(action, restart=False)
        observation = transition.observation
        ends = environment.outcomes(transition)
        for i, flight in enumerate(found):
            if flight.outcome:
                continue
            for name, settings in CONFIG.reward.items():
                paid = settings["weight"] * float(transition.values[f"reward.{name}"][i])
                flight.terms[name] = flight.terms.get(name, 0.0) + paid
            flight.actions.append(action[i].clamp(-1, 1).numpy())
            flight.speeds.append(float(transition.values["speed"][i]))
            flight.near += float(transition.values["goal_distance"][i]) < 5 * 0.15
            if bool(transition.terminated[i] | transition.truncated[i]):
                flight.outcome = next(name for name, mask in ends.items() if bool(mask[i]))
    return found


def test_outcomes_and_success_are_those_of_a_plain_loop(packet: Packet, flights: list[Flight]) -> None:
    assert packet.outcomes == Counter(flight.outcome for flight in flights)
    assert 0.2 < packet.success.value == packet.outcomes["success"] / EPISODES < 1.0
    assert packet.success.low < packet.success.value < packet.success.high


def test_what_terms_paid_is_what_a_plain_loop_adds_up(packet: Packet, flights: list[Flight]) -> None:
    well = np.array([flight.outcome == "success" for flight in flights])
    total = sum(abs(value) for flight in flights for value in flight.terms.values())
    assert [term.name for term in packet.terms] == list(CONFIG.reward)
    for term in packet.terms:
        returns = np.array([flight.terms[term.name] for flight in flights])
        assert term.weight == pytest.approx(CONFIG.reward[term.name]["weight"])
        assert term.in_success == pytest.approx(returns[well].mean(), abs=1e-5)
        assert term.otherwise == pytest.approx(returns[~well].mean(), abs=1e-5)
        assert term.share == pytest.approx(np.abs(returns).sum() / total, abs=1e-5)
        if term.name == "progress":
            assert term.correlation == pytest.approx(np.corrcoef(returns, well)[0, 1], abs=1e-4)
    returns = np.array([sum(flight.terms.values()) for flight in flights])
    assert packet.return_correlation == pytest.approx(np.corrcoef(returns, well)[0, 1], abs=1e-4)
    assert [term.name for term in packet.terms if term.at_end > 0.99] == ["success_bonus"]
    assert packet.term("failure").correlation is None  # nobody crashed, so it paid the same to all: nothing


def test_behaviour_is_what_a_plain_loop_sees(packet: Packet, flights: list[Flight]) -> None:
    actions = np.concatenate([flight.actions for flight in flights])
    changes = np.concatenate([np.diff(flight.actions, axis=0) for flight in flights])
    speeds = np.concatenate([flight.speeds for flight in flights])
    seen, speed = packet.behaviour, packet.behaviour.quantities["speed (m/s)"]
    assert seen.saturated == pytest.approx((np.abs(actions) > 0.99).mean(), abs=1e-6)
    assert seen.action_change == pytest.approx(np.square(changes).mean(), rel=1e-4)
    assert seen.episode_seconds == pytest.approx(len(actions) / EPISODES * 0.02)
    expected = (speeds.mean(), *np.percentile(speeds, (5, 95)))
    assert (speed.mean, speed.low, speed.high) == pytest.approx(expected, rel=1e-4)
    assert set(seen.quantities) == {"to goal (m)", "speed (m/s)", "clearance (m)", "tilt (deg)"}
    others = [flight for flight in flights if flight.outcome != "success"]
    stalled = [f for f in others if f.outcome == "timeout" and f.near >= len(f.actions) / 2]
    assert seen.stalling is not None
    assert seen.stalling.share == pytest.approx(len(stalled) / EPISODES)
    assert seen.stalling.seconds == pytest.approx(np.mean([flight.near for flight in others]) * 0.02)


def test_curves_are_ten_means_of_what_was_logged(packet: Packet) -> None:
    found = packet.term("progress").curve
    assert found is not None and len(found.values) == 10
    assert found.values[0] == 4.0 and found.steps[0] == 200.0  # of rows 1 to 3
    assert (found.maximum, found.mean, found.minimum) == (60.0, 31.0, 2.0)
    assert packet.term("time").curve is None and set(packet.curves) == {"return"}
    assert (packet.policy_steps, packet.training_steps) == (600.0, 3000.0)


def test_the_document_says_all_of_it(packet: Packet) -> None:
    path = Path(packet.folder) / "packet.json"
    assert read_packet(path) == packet
    text = packet.text()
    assert len(text) < 5000 and f"{packet.success.value:.1%}" in text and "success_bonus" in text
    for change, message in (
        ({"version": 2}, "version 2; this robo_ppo reads version 1"),
        (
            {"success": {"value": "high", "low": 0, "high": 1, "episodes": 3}},
            r"Packet\.success\.value: Input should be a valid number",
        ),
        ({"cheer": 1}, r"Packet\.cheer: Unexpected"),
        ({"files": [{"name": "a", "file": "../../.ssh/id", "caption": ""}]}, "names a picture that is not beside it"),
    ):
        other = path.with_name("other.json")
        other.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(UserError, match=message):
            read_packet(other)


def test_pictures_show_learning_flights_and_failures(packet: Packet) -> None:
    shown = packet.pictures()
    assert [picture.name for picture in shown][:2] == ["learning", "flights"]
    assert 1 <= len(shown) - 2 == len(packet.failures) <= 3
    for file in packet.files[2:]:
        with Image.open(Path(packet.folder) / file.file) as image:
            assert image.size == (6 * 240 + 5 * 4, 180 + 26)
            # Frames of a flight differ, and none is blank.
            frames = [np.asarray(image.crop((i * 244, 60, i * 244 + 240, 206))) for i in (0, 5)]
        assert all(frame.std() > 5.0 for frame in frames)


def test_two_diagnoses_are_equal_and_of_validation_episodes(
    packet: Packet, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits: list[str] = []
    draw = building.build_bank

    def watched(draws, split, *rest):  # pyright: ignore[reportMissingParameterType, reportUnknownParameterType]
        splits.append(split)
        return draw(draws, split, *rest)

    monkeypatch.setattr(building, "build_bank", watched)
    again = diagnose(CONFIG, run, tmp_path, episodes=EPISODES, pictures=False)
    assert dataclasses.replace(again, files=packet.files) == packet and splits == ["validation"]
    assert not list(tmp_path.glob("*.png"))


def test_without_rendering_the_rest_is_there(packet: Packet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise RenderingUnavailable("no OpenGL here")

    monkeypatch.setattr(pictures, "strips", none)
    spec, failed = make_task(CONFIG).robot.spec(), trace(outcome="ground")
    files, notes = pictures.draw(tmp_path, spec, packet.curves, packet.terms, [failed], lambda _: "it fell")
    assert [file.name for file in files] == ["learning", "flights"] and (tmp_path / "flights.png").exists()
    assert notes == ["no pictures of the failures: no OpenGL here"]
    assert "note: no pictures of the failures" in dataclasses.replace(packet, notes=notes).text()


def test_a_policy_that_lives_on_hovering_is_flagged_and_a_weak_one_is_not(tmp_path: Path) -> None:
    """The same flights, paid by two rewards: one pays for waiting beside the goal, the hand-made one does not."""
    for reward, flagged in (("uav_hover_poor_beside", {"one term", "stalling"}), ("uav_hover", set[str]())):
        config = config_of(f"reward={reward}")
        run = run_of(tmp_path / reward, config, hovering_above(config), [])
        packet = diagnose(config, run, tmp_path / reward, episodes=16, pictures=False)
        assert packet.success.value == 0.0
        assert packet.behaviour.stalling is not None and packet.behaviour.stalling.share > 0.9
        assert {flag.name for flag in rules(packet)} == flagged


def test_a_policy_that_hovers_well_is_not_flagged(packet: Packet) -> None:
    assert rules(packet) == []
    assert packet.behaviour.energy is not None and packet.behaviour.energy.share < 0.02


def test_what_cannot_be_diagnosed_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no checkpoint"):
        diagnose(CONFIG, tmp_path, tmp_path / "out", episodes=2)
    foreign = compose("task=gymnasium", "env_id=Pendulum-v1")
    with pytest.raises(UserError, match="only a task of signals can be diagnosed"):
        diagnose(foreign, tmp_path, tmp_path / "out", episodes=2)
    other = config_of("policy.hidden=[3]")
    run = run_of(tmp_path / "run", other, hovering(CONFIG), [])
    with pytest.raises(UserError, match="does not fit this task, robot and policy"):
        diagnose(other, run, tmp_path / "out", episodes=2)


def test_a_term_that_explodes_is_named(run: Path, tmp_path: Path) -> None:
    text = (
        '"""Too much."""\nversion = 1\nweights = {"rocket": 1.0}\ndef rocket(height):\n    return exp(200.0 * height)\n'
    )
    with pytest.raises(UserError, match="the reward term 'rocket' returned a value that is not finite"):
        diagnose(applied(CONFIG, parse(text, "rocket.py")), run, tmp_path, episodes=2, pictures=False)
