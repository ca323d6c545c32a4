"""The choices of `llm=`, in one table: who answers the loop's questions.

    model = make_model(config.llm, run_folder)      # None for llm=none: the search goes without

`conf/llm/` has a file for each; `docs/language_models.md` says which key each one needs and what leaves the machine.
"""

import dataclasses
import math
from pathlib import Path

from robo_ppo.config import LLMConfig
from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.shaping.llm import archive, keys
from robo_ppo.shaping.llm.budget import Budget
from robo_ppo.shaping.llm.manual import Manual
from robo_ppo.shaping.llm.recorded import Recorded
from robo_ppo.shaping.llm.replay import Replay
from robo_ppo.shaping.llm.voice import Voice

PROVIDERS = ("openai", "anthropic", "google", "ollama", "vllm", "compatible")
_ANSWERS = ("auto", "schema", "tool", "text")
CHOICES = ("none", "manual", "replay", *PROVIDERS)


def make_model(config: LLMConfig, run_folder: Path) -> Recorded | None:
    """Who answers, with its record in `<run_folder>/llm`; None for `llm=none`.

    Raises:
        UserError: the settings make no sense, a key or a package is missing.
    """
    check(config)
    if config.name == "none":
        return None
    record = run_folder / "llm"
    voice = _voice(config, run_folder)
    return Recorded(
        voice,
        record,
        Budget(config, archive.spent(record)),
        retries=None if config.name == "manual" else config.retries,  # a person may mend as often as it takes
        longest_wait=config.timeout_s,
    )


def check(config: LLMConfig) -> None:
    """A `UserError` for settings that make no sense; also where a run is only planned."""
    if config.name not in CHOICES:
        raise UserError(f"llm={config.name}; {did_you_mean(config.name, CHOICES)}")
    keys.refuse_in_config(config)
    known = _settings_of(config.name)
    for setting in dataclasses.fields(config):
        if setting.name not in known and getattr(config, setting.name) != setting.default:
            raise UserError(f"llm={config.name} has no setting llm.{setting.name}; {_told(known)}")
    if config.name == "replay" and not config.folder:
        raise UserError("llm=replay needs the run to repeat: llm.folder=runs/…")
    if config.name in PROVIDERS:
        _check_provider(config)


def _settings_of(name: str) -> tuple[str, ...]:
    """What `llm.*` a choice looks at: anything else on a command line would be ignored."""
    if name in PROVIDERS:
        return tuple(setting.name for setting in dataclasses.fields(LLMConfig) if setting.name != "folder")
    return ("name",) if name == "none" else ("name", "folder")


def _told(known: tuple[str, ...]) -> str:
    """The settings of a choice, in words."""
    others = [f"llm.{name}" for name in known if name != "name"]
    return f"it has {', '.join(others)}" if others else f"it asks nobody; {', '.join(CHOICES[1:])} do"


def _check_provider(config: LLMConfig) -> None:
    if not config.model:
        raise UserError(f"llm={config.name} needs the name of a model: llm.model=…")
    if config.answers not in _ANSWERS:
        raise UserError(f"llm.answers={config.answers}; {did_you_mean(config.answers, _ANSWERS)}")
    if not config.timeout_s > 0 or not math.isfinite(config.timeout_s):
        raise UserError(f"llm.timeout_s={config.timeout_s}; it must be more than 0")
    if config.retries < 0:
        raise UserError(f"llm.retries={config.retries}; it must be 0 or more")
    if config.max_answer_tokens < 1:
        raise UserError(f"llm.max_answer_tokens={config.max_answer_tokens}; it must be 1 or more")
    if config.max_output_tokens is not None and config.max_output_tokens < config.max_answer_tokens:
        raise UserError(
            f"llm.max_output_tokens={config.max_output_tokens} of the whole run is less than one answer may have: "
            f"llm.max_answer_tokens={config.max_answer_tokens}"
        )


def _voice(config: LLMConfig, run_folder: Path) -> Voice:
    if config.name == "replay":
        folder = Path(config.folder or "").expanduser()
        if run_folder.resolve() in (folder.resolve(), folder.resolve().parent):
            raise UserError("llm.folder is this run's own record; to go on with a run, take resume=")
        return Replay(folder)
    if config.name == "manual":
        return Manual(Path(config.folder).expanduser() if config.folder else run_folder / "questions")
    from robo_ppo.shaping.llm.provider import Provider

    return Provider(config)
