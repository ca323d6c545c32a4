"""Optuna chooses, the folders remember: the same command goes on, and finds again what was found."""

from pathlib import Path

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from robo_ppo.errors import UserError
from robo_ppo.run.sweep.optuna_sweeper import distribution
from tests.run.sweep.sweeping import ended, sweep, table


def parse(text: str) -> BaseDistribution:
    return distribution(OverridesParser.create().parse_override(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=interval(1,3)", FloatDistribution(1.0, 3.0)),
        ("a=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("a=int(interval(2,6))", IntDistribution(2, 6)),
        ("a=range(0,10,4)", IntDistribution(0, 8, step=4)),  # the end is not part of a range
        ("a=range(0,1,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("a=x,y", CategoricalDistribution(["x", "y"])),
        ("a=choice([64,64],[128])", CategoricalDistribution(["[64,64]", "[128]"])),
    ],
)
def test_what_is_swept_is_what_is_drawn_from(text: str, expected: BaseDistribution) -> None:
    assert parse(text) == expected


def test_an_interval_the_wrong_way_round() -> None:
    with pytest.raises(UserError, match=r"a=interval\(3,1\): .*low <= high"):
        parse("a=interval(3,1)")


def test_a_search_goes_on_from_the_folders_of_its_trials(tmp_path: Path) -> None:
    search = ("hydra/sweeper=optuna", "total_steps=256", "ppo.gamma=interval(0.9,0.99)", "ppo.epochs=1,2")
    ended(sweep(tmp_path, *search, "hydra.sweeper.n_trials=1"))
    (first,) = table(tmp_path).values()
    assert 0.9 <= float(first["ppo.gamma"]) <= 0.99
    assert first["ppo.epochs"] in ("1", "2")
    out, _ = ended(sweep(tmp_path, *search, "hydra.sweeper.n_trials=2"))
    assert "0 of 1 trials to train" in out
    again, second = table(tmp_path).values()
    assert again == first
    assert (second["state"], second["attempts"]) == ("finished", "1")
    assert second["ppo.gamma"] != first["ppo.gamma"]


@pytest.mark.slow
def test_what_fails_is_told_and_a_storage_keeps_it(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    search = ("hydra/sweeper=optuna", "hydra/launcher=joblib", "hydra.sweeper.n_jobs=2", "hydra.sweeper.sampler=random")
    search = (*search, f"hydra.sweeper.storage={storage}", "total_steps=256", "ppo.gamma=choice(0.9,2)")
    _, err = ended(sweep(tmp_path, *search, "hydra.sweeper.n_trials=4"), code=2)
    assert "Traceback" not in err
    trials = optuna.load_study(storage=storage, study_name="sweep").trials
    told = {trial.params["ppo.gamma"]: (trial.state.name, trial.value) for trial in trials}
    value = float(table(tmp_path)["ppo.gamma-0.9"]["value"])
    assert len(trials) == 4
    assert told == {"0.9": ("COMPLETE", value), "2": ("FAIL", None)}

    unanswered = optuna.load_study(storage=storage, study_name="sweep").ask(
        {"ppo.gamma": CategoricalDistribution(["0.9", "2"])}
    )
    ended(
        sweep(tmp_path, *search, "hydra.sweeper.n_trials=5"), code=0 if unanswered.params["ppo.gamma"] == "0.9" else 2
    )
    trials = optuna.load_study(storage=storage, study_name="sweep").trials
    assert len(trials) == 5
    assert all(trial.state.is_finished() for trial in trials)
