"""`conf/llm/`: a file for every choice, each of which composes and says what is still missing."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from robo_ppo.config import LLMConfig
from robo_ppo.errors import UserError
from robo_ppo.shaping.llm.choices import CHOICES, PROVIDERS, check

FOLDER = Path(__file__).parents[3] / "conf/llm"


def test_every_choice_has_its_file() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(CHOICES)


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_says_what_only_the_person_knows(name: str) -> None:
    composed = OmegaConf.merge(OmegaConf.structured(LLMConfig), OmegaConf.load(FOLDER / f"{name}.yaml"))
    config = OmegaConf.to_object(composed)
    assert isinstance(config, LLMConfig)
    assert config.name == name
    if name in PROVIDERS:
        with pytest.raises(UserError, match=r"llm\.model=…"):
            check(config)
        config.model = "m"
    if name == "replay":
        with pytest.raises(UserError, match=r"llm\.folder="):
            check(config)
        config.folder = "runs"
    check(config)


def test_an_unknown_choice_is_told_the_nearest() -> None:
    with pytest.raises(UserError, match="openai"):
        check(LLMConfig(name="openia"))


def test_without_the_packages_a_provider_says_what_to_install_and_nobody_else_misses_them(tmp_path: Path) -> None:
    source = (
        "import sys; from pathlib import Path\n"
        "sys.modules.update(dict.fromkeys(['pydantic_ai', 'httpx2', 'genai_prices', 'openai'], None))\n"
        "from robo_ppo.config import LLMConfig\n"
        "from robo_ppo.errors import UserError\n"
        "from robo_ppo.shaping.llm.choices import make_model\n"
        "assert make_model(LLMConfig(name='manual'), Path('run'))\n"
        "try: make_model(LLMConfig(name='ollama', model='m'), Path('run'))\n"
        "except UserError as error: print(error)\n"
    )
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "pip install 'robo-ppo[llm]'" in done.stdout
