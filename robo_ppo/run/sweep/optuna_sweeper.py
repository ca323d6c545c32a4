"""Optuna chooses the settings of the trials: `hydra/sweeper=optuna`.

What is swept is the search space, `ppo.gamma=interval(0.95,0.995)`, and the objective is the score of a trial's best
validation: more is better. The choice depends on the seed and on what the earlier trials found, and on nothing else; so
the same command with `hydra.sweep.dir=<folder>` chooses the same trials again, finds in their folders what they found,
and goes on where it stopped.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from typing_extensions import override

from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.run.sweep.launcher import TrialLauncher
from robo_ppo.run.sweep.settings import PLUGINS, OptunaSettings

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler"}
Space: TypeAlias = "dict[str, BaseDistribution]"


class OptunaSweeper(Sweeper):
    """Asks Optuna for `n_jobs` trials at a time until there were `n_trials`."""

    __module__ = PLUGINS

    def __init__(self, **settings: Any) -> None:
        self.settings = OptunaSettings(**settings)

    @override
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        _refuse_out_of_range(self.settings)
        self.hydra_context, self.config = hydra_context, config  # for the check of every batch
        self._folder, self._loader = Path(str(config.hydra.sweep.dir)), hydra_context.config_loader
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        if not isinstance(launcher, TrialLauncher):
            raise UserError("hydra/sweeper=optuna needs a launcher of robo_ppo, as hydra/launcher=joblib")
        self._launcher = launcher

    @override
    def sweep(self, arguments: list[str]) -> None:
        import optuna

        fixed, space = self._space(arguments)
        if not space:
            raise UserError("there is nothing to search; sweep a setting, as in 'ppo.gamma=interval(0.95,0.995)'")
        self._folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, self._folder / "multirun.yaml")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = self._study(self._folder.name)
        unanswered = [(trial.number, trial.params) for trial in study.trials if not trial.state.is_finished()]
        while unanswered or len(study.trials) < self.settings.n_trials:
            while len(unanswered) < self.settings.n_jobs and len(study.trials) < self.settings.n_trials:
                asked = study.ask(space)
                unanswered.append((asked.number, asked.params))
            batch = [[*fixed, *(f"{key}={_text(value)}" for key, value in params.items())] for _, params in unanswered]
            self.validate_batch_is_legal(batch)
            for (number, _), trial in zip(unanswered, self._launcher.run(batch), strict=True):
                value = trial.record.value if trial.record.state == "finished" else None
                study.tell(number, value, state=optuna.trial.TrialState.FAIL if value is None else None)
            unanswered = []
        self._launcher.report()

    def _study(self, name: str) -> "optuna.Study":
        """A new study, or the one in the storage, which goes on."""
        import optuna

        chosen = self.settings
        try:
            study = optuna.create_study(
                storage=chosen.storage,
                study_name=chosen.study_name or name,
                direction="maximize",
                load_if_exists=True,
            )
        except Exception as error:  # whatever the driver of the database raises
            raise UserError(f"hydra.sweeper.storage={chosen.storage}: {' '.join(str(error).split())[:200]}") from error
        study.sampler = getattr(optuna.samplers, SAMPLERS[chosen.sampler])(seed=chosen.seed + len(study.trials))
        return study

    def _space(self, arguments: list[str]) -> tuple[list[str], Space]:
        """The overrides that all trials have in common, and the distributions of the others."""
        texts = [*(f"{key}={value}" for key, value in self.settings.params.items()), *arguments]
        fixed: list[str] = []
        space: Space = {}
        for one in OverridesParser.create(self._loader).parse_overrides(texts):
            if one.is_sweep_override():
                space[one.get_key_element()] = distribution(one)
            else:  # on the command line it replaces what params has
                space.pop(one.get_key_element(), None)
                assert one.input_line is not None
                fixed.append(one.input_line)
        return fixed, space


def distribution(swept: Override) -> "BaseDistribution":
    """What Optuna draws from: `interval` (with `int` or `tag(log, …)`), `range`, or a choice."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = swept.value()
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        try:
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log=log)
            assert low is not None
            assert high is not None
            return FloatDistribution(low, high, log=log)
        except ValueError as error:
            raise UserError(f"{swept.input_line}: {error}") from error
    texts = list(swept.sweep_string_iterator())
    if isinstance(value, RangeSweep) and isinstance(value.step, int):
        low, high = sorted((int(texts[0]), int(texts[-1])))
        return IntDistribution(low, high, step=abs(value.step))
    if isinstance(value, RangeSweep):
        low, high = sorted((float(texts[0]), float(texts[-1])))
        return FloatDistribution(low, high, step=abs(value.step))
    return CategoricalDistribution(texts)


def _text(value: object) -> str:
    """A drawn value as it stands in an override and in the name of the trial's folder: five digits tell enough."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _refuse_out_of_range(settings: OptunaSettings) -> None:
    for key in ("n_trials", "n_jobs"):
        if (value := getattr(settings, key)) < 1:
            raise UserError(f"hydra.sweeper.{key} must be at least 1, not {value}")
    if settings.sampler not in SAMPLERS:
        raise UserError(f"hydra.sweeper.sampler={settings.sampler}; {did_you_mean(settings.sampler, SAMPLERS)}")
