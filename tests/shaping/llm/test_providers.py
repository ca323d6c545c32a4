"""Providers at the wire, against a stub on loopback: what is sent, what comes of bad servers, and that keys stay in."""

import base64
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from robo_ppo.config import LLMConfig
from robo_ppo.errors import UserError
from robo_ppo.shaping.llm.choices import check, keys, make_model
from robo_ppo.shaping.llm.model import BudgetSpent, Picture, Question, Usage
from robo_ppo.shaping.llm.recorded import Recorded
from tests.shaping.llm.stub_server import Response, chat, claude, drip, gemini, half, hang, raw, stub, tool

SENTINEL = "sk-SENTINEL/0123456789+abcdef"


@dataclass
class Choice:
    """Which one."""

    name: str
    weights: dict[str, float] = field(default_factory=dict)


GOOD = json.dumps({"name": "b", "weights": {"progress": 2.0}})
ANSWER = Choice("b", {"progress": 2.0})
PICTURE = Picture("strip", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "three failures")
QUESTION = Question("judge", "You judge.", "Which is better, a or b?", (PICTURE,))
MODELS = {"anthropic": "claude-sonnet-4-5", "google": "gemini-2.5-flash", "openai": "gpt-4o"}


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI", "ANTHROPIC", "GOOGLE", "GEMINI", "ROBO_PPO_LLM"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)


def config(url: str, name: str = "compatible", **settings: Any) -> LLMConfig:
    base = url if name in ("anthropic", "google") else f"{url}/v1"
    chosen: dict[str, Any] = {"name": name, "model": MODELS.get(name, "m"), "base_url": base, "timeout_s": 5.0}
    return LLMConfig(**chosen | settings)


def model_of(config: LLMConfig, folder: Path) -> Recorded:
    model = make_model(config, folder)
    assert model is not None
    model._pause = 0.0
    return model


def fine(_: Choice) -> str | None:
    return None


def ask(config: LLMConfig, folder: Path) -> tuple[Choice, Usage]:
    return model_of(config, folder).ask(QUESTION, Choice, fine)


@pytest.mark.parametrize("name", ["openai", "ollama", "vllm", "compatible"])
def test_openais_form_carries_words_pictures_and_schema(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SENTINEL)
    with stub(chat(GOOD)) as server:
        answer, usage = ask(config(server.url, name, temperature=0.5, max_answer_tokens=777), tmp_path)
    assert answer == ANSWER
    assert (usage.requests, usage.input_tokens, usage.output_tokens) == (1, 100, 10)
    # The price list of OpenAI: $2.5 and $10 for a million tokens of gpt-4o.
    assert usage.dollars == (pytest.approx(100 * 2.5e-6 + 10 * 10e-6) if name == "openai" else None)
    (seen,) = server.seen
    assert seen.path == "/v1/chat/completions"
    assert (SENTINEL in seen.headers["authorization"]) == (name == "openai"), "OpenAI's key is OpenAI's alone"
    assert seen.body["temperature"] == 0.5
    assert 777 in (seen.body.get("max_tokens"), seen.body.get("max_completion_tokens"))
    system, user = seen.body["messages"]
    assert system["role"] == "system"
    assert system["content"].startswith("You judge.")
    parts = {part["type"]: part for part in user["content"]}
    assert parts["image_url"]["image_url"]["url"].partition(",")[2] == base64.b64encode(PICTURE.png).decode()
    assert user["content"][0]["text"] == "three failures"
    assert "Which is better" in user["content"][-1]["text"]
    assert '"weights"' in user["content"][-1]["text"]
    assert seen.body["response_format"]["json_schema"]["schema"]["properties"].keys() == {"name", "weights"}


def test_anthropics_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", SENTINEL)
    with stub(claude('{"name": 7}'), claude(GOOD)) as server:
        answer, usage = ask(config(server.url, "anthropic"), tmp_path)
    assert answer == ANSWER
    assert usage.dollars == pytest.approx(2 * (100 * 3e-6 + 10 * 15e-6))  # its price list, $ for a token
    first, second = server.seen
    assert first.path == "/v1/messages"
    assert any(SENTINEL in value for value in first.headers.values())
    assert base64.b64encode(PICTURE.png).decode() in json.dumps(first.body)
    assert first.body["tools"][0]["input_schema"]["required"] == ["name"]
    assert "name: Input should be a valid string" in json.dumps(second.body["messages"])


def test_googles_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", SENTINEL)
    with stub(gemini(GOOD)) as server:
        answer, usage = ask(config(server.url, "google"), tmp_path)
    assert answer == ANSWER
    assert (usage.input_tokens, usage.output_tokens) == (100, 10)
    (seen,) = server.seen
    assert seen.path.endswith("gemini-2.5-flash:generateContent")
    assert seen.headers["x-goog-api-key"] == SENTINEL
    (inline,) = [part["inlineData"]["data"] for part in seen.body["contents"][0]["parts"] if "inlineData" in part]
    assert base64.urlsafe_b64decode(inline) == PICTURE.png


def test_a_model_that_reads_words_gets_words_and_one_without_schemas_gets_none(tmp_path: Path) -> None:
    with stub(chat(f"Sure:\n```json\n{GOOD}\n```")) as server:
        assert ask(config(server.url, pictures=False, answers="text"), tmp_path)[0] == ANSWER
    text = json.dumps(server.seen[0].body)
    assert "image_url" not in text
    assert "response_format" not in text


def test_a_model_that_calls_tools_answers_through_one(tmp_path: Path) -> None:
    with stub(tool('{"name": '), tool(GOOD)) as server:
        assert ask(config(server.url, answers="tool"), tmp_path)[0] == ANSWER
    assert [item["function"]["name"] for item in server.seen[0].body["tools"]] == ["answer"]
    assert "not valid or not whole" in json.dumps(server.seen[1].body["messages"])


def test_a_server_cannot_give_tokens_back(tmp_path: Path) -> None:
    with stub(chat(GOOD, tokens=(-1_000_000, 10))) as server:
        usage = ask(config(server.url), tmp_path)[1]
    assert usage.input_tokens > 1500
    assert usage.output_tokens > 0


BAD: dict[str, tuple[Response, str]] = {
    "prose": (chat("I would rather not."), "no JSON object"),
    "wrong shape": (chat('{"name": ["b"]}'), "name: Input should be a valid string"),
    "not finite": (chat('{"name": "b", "weights": {"a": "inf"}}'), "finite"),
    "empty": (chat(""), ""),
    "cut off": (chat(GOOD[:9], finish="length"), "llm.max_answer_tokens"),
    "garbage": (raw(b"\x00\xff\xfe garbage"), ""),
    "not UTF-8": (raw(b'{"choices": "\xff\xfe\xc3\x28"}'), ""),
    "another JSON": (raw(b'{"hello": [1, 2]}'), ""),
    "a list": (raw(b"[]"), ""),
    "null": (raw(b"null"), ""),
    "a page": (raw(b"<html><b>It works!</b></html>", kind="text/html"), ""),
    "a page of an error": (raw(b"<html>Bad \x1b[31mgateway</html>", 502, "text/html"), "HTTP 502"),
    "500": (raw(b'{"error": {"message": "out of memory"}}', 500), "HTTP 500: out of memory"),
    "429": (raw(b'{"error": {"message": "slow down"}}', 429, Retry_After="0"), "HTTP 429: slow down"),
    "half": (half(GOOD), ""),
    "10 MB": (raw(b" " * 10_000_000), "more than 4,000,000 bytes"),
    "a long answer": (chat("x" * 1_000_001), "1,000,001 characters"),
    "compressed": (raw(b"\x1f\x8b", Content_Encoding="gzip"), "compressed"),
}


@pytest.mark.parametrize("case", ["wrong shape", "a page", "500", "half"])
def test_a_bad_response_is_followed_by_another_request(case: str, tmp_path: Path) -> None:
    with stub(BAD[case][0], chat(GOOD)) as server:
        assert ask(config(server.url), tmp_path)[0] == ANSWER
    assert len(server.seen) == 2


@pytest.mark.parametrize("case", BAD)
def test_bad_responses_end_in_one_message(case: str, tmp_path: Path) -> None:
    response, says = BAD[case]
    with stub(response) as server, pytest.raises(UserError, match=says or "no valid answer came") as caught:
        ask(config(server.url, retries=1), tmp_path)
    assert len(server.seen) == 2
    assert len(str(caught.value)) < 1500
    assert "\x1b" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("response", [hang, drip])
def test_a_server_that_hangs_is_left(response: Response, tmp_path: Path) -> None:
    begun = time.monotonic()
    with stub(response) as server, pytest.raises(UserError, match=r"no answer within llm\.timeout_s=0\.3"):
        ask(config(server.url, timeout_s=0.3, retries=1), tmp_path)
    assert time.monotonic() - begun < 5.0
    assert len(server.seen) == 2


def test_what_was_not_answered_is_counted_as_if_it_had_been(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"input_price": 10.0, "output_price": 1000.0, "max_answer_tokens": 100}
    settings["max_dollars"] = 0.25
    with stub(hang) as server:
        model = model_of(config(server.url, timeout_s=0.2, retries=9, **settings), tmp_path)
        with pytest.raises(BudgetSpent, match=r"llm\.max_dollars=0\.25"):
            model.ask(QUESTION, Choice, fine)
    assert len(server.seen) == 2
    assert model.spent.output_tokens == 200


def test_half_a_character_spoils_nothing(tmp_path: Path) -> None:
    with stub(chat("\ud83d no"), chat(GOOD)) as server:
        assert ask(config(server.url), tmp_path)[0] == ANSWER
    with stub(claude('{"name": "\ud83d"}'), claude(GOOD)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_API_KEY", SENTINEL)
        assert ask(config(server.url, "anthropic"), tmp_path / "other")[0].name in ("?", "b")


@pytest.mark.parametrize("name", ["compatible", "anthropic"])
def test_headers_that_the_environment_holds_for_others_are_not_sent(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", SENTINEL)
    monkeypatch.setenv("OPENAI_ORG_ID", "private")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "private")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Corp: private")
    with stub((claude if name == "anthropic" else chat)(GOOD)) as server:
        ask(config(server.url, name), tmp_path)
    assert "private" not in str(server.seen[0].headers)
    assert "x-stainless" not in str(server.seen[0].headers), "what the library tells of this machine"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_will_not_change_is_not_asked_again(status: int, tmp_path: Path) -> None:
    with stub(raw(b'{"error": {"message": "never"}}', status)) as server:
        with pytest.raises(UserError, match=rf"HTTP {status} \(.*\): never"):
            ask(config(server.url), tmp_path)
    assert len(server.seen) == 1


def test_a_redirect_is_not_followed_since_the_key_would_go_with_it(tmp_path: Path) -> None:
    with stub(chat(GOOD)) as other, stub(raw(b"", 307, Location=f"{other.url}/v1/chat/completions")) as server:
        with pytest.raises(UserError, match="HTTP 307 points elsewhere"):
            ask(config(server.url), tmp_path)
    assert (len(server.seen), len(other.seen)) == (1, 0)


def test_a_server_is_left_alone_for_as_long_as_it_says_within_the_timeout(tmp_path: Path) -> None:
    busy = raw(b"{}", 429, Retry_After="2")
    with stub(busy, chat(GOOD)) as server:
        waits: list[float] = []
        model = model_of(config(server.url), tmp_path / "a")
        model._sleep = waits.append
        assert model.ask(QUESTION, Choice, fine)[0] == ANSWER
        assert waits == [2.0]
    with stub(busy) as server, pytest.raises(UserError, match="HTTP 429"):
        ask(config(server.url, timeout_s=1.0), tmp_path / "b")
    assert len(server.seen) == 1


def test_nobody_there(tmp_path: Path) -> None:
    with stub(hang) as server:
        url = server.url
    with pytest.raises(UserError, match=r"compatible at http://127.* cannot be reached"):
        ask(config(url, retries=1), tmp_path)


def test_tokens_that_a_server_does_not_count_are_estimated(tmp_path: Path) -> None:
    with stub(chat(GOOD, tokens=None)) as server:
        usage = ask(config(server.url, input_price=1.0, output_price=2.0), tmp_path)[1]
    assert usage.input_tokens > 1500  # of the picture alone
    assert 5 < usage.output_tokens < 50
    assert usage.dollars == pytest.approx((usage.input_tokens + 2 * usage.output_tokens) / 1e6)


def test_a_budget_of_money_ends_the_questions(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "input_price": 10.0,
        "output_price": 1000.0,
        "max_answer_tokens": 100,
        "max_dollars": 0.2,
    }
    with stub(chat(GOOD)) as server:
        model = model_of(config(server.url, **settings), tmp_path)  # 1.1 cents for an answer, 10 for the longest one
        with pytest.raises(BudgetSpent, match=r"llm\.max_dollars=0\.2: spent .* \$0\.0"):
            for _ in range(99):
                model.ask(QUESTION, Choice, fine)
    assert len(server.seen) == 8
    assert model.spent.dollars == pytest.approx(8 * 0.011)


def test_a_key_is_nowhere_but_in_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    monkeypatch.setenv("ROBO_PPO_LLM_API_KEY", SENTINEL)
    echo = f"invalid key '{SENTINEL}', Bearer {SENTINEL}, {SENTINEL.replace('/', '%2F').replace('+', '%2B')}"
    script = [
        raw(json.dumps({"error": {"message": echo}}).encode(), 500),
        raw(echo.encode(), 503, "text/plain"),
        raw(echo.encode()),
        chat(echo),
        chat(json.dumps({"name": echo})),
        chat(json.dumps({"name": ""}).replace('""', '"' + "".join(f"\\u{ord(c):04x}" for c in SENTINEL) + '"')),
        raw(json.dumps({"error": {"message": "x" * 280 + echo}}).encode(), 401),
    ]
    with stub(*script) as server:
        settings = config(server.url, retries=9)
        with pytest.raises(UserError) as caught:
            model_of(settings, tmp_path).ask(QUESTION, Choice, lambda choice: f"not {choice.name}")
    assert len(server.seen) == 7
    assert SENTINEL in server.seen[0].headers["authorization"]
    captured = capfd.readouterr()
    written = [path.read_text("utf-8", "replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 6
    for text in [
        *written,
        captured.out,
        captured.err,
        caplog.text,
        str(caught.value),
        repr(caught.value),
        str(settings),
    ]:
        assert "SENTINEL" not in text
    error: BaseException | None = caught.value
    while error is not None:  # what a traceback would print
        assert "SENTINEL" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert "ROBO_PPO_LLM_API_KEY" in str(caught.value)


@pytest.mark.parametrize(("name", "variable"), [("openai", "OPENAI"), ("anthropic", "ANTHROPIC"), ("google", "GOOGLE")])
def test_a_missing_key_is_one_message(name: str, variable: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"llm={name} needs a key: set {variable}_API_KEY"):
        make_model(LLMConfig(name=name, model="m"), tmp_path)


def test_a_key_with_a_line_break_in_it_is_refused_without_being_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-SENTINEL\n0123456789")
    with pytest.raises(UserError, match="OPENAI_API_KEY holds characters") as caught:
        make_model(LLMConfig(name="openai", model="m"), tmp_path)
    assert "SENTINEL" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "http://user:SENTINEL@localhost/v1"},
        {"base_url": "http://SENTINEL@localhost/v1"},
        {"base_url": "http://localhost/v1?key=SENTINEL"},
        {"base_url": "http://localhost/v1#SENTINEL"},
        {"base_url": f"http://localhost/{SENTINEL}/v1"},
        {"model": SENTINEL},
        {"model": "sk-ant-SENTINEL0123456789"},
    ],
)
def test_a_key_in_the_configuration_is_refused_without_being_shown(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBO_PPO_LLM_API_KEY", SENTINEL)
    with pytest.raises(UserError, match=r"environment") as caught:
        check(config("http://localhost", **settings))
    assert "SENTINEL" not in str(caught.value)


def test_only_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBO_PPO_LLM_API_KEY", "secret")
    monkeypatch.setenv("REGISTRY_TOKEN", "abc/def+0123456789")
    monkeypatch.setenv("SHORT_TOKEN", "progress")
    monkeypatch.setenv("OPENAI_API_KEY", "ollama")  # where some key must be set
    monkeypatch.setenv("KEY_FOLDER", "/home/robot/keys")
    assert keys.hide("a secret, abc/def+0123456789, abc\\/def+0123456789, abc%2Fdef%2B0123456789") == (
        "a (hidden), (hidden), (hidden), (hidden)"
    )
    assert keys.hide("https://me:word@host/v1 and sk-0123456789abcdefgh") == "https://(hidden)@host/v1 and (hidden)"
    for text in (
        "progress",
        "/home/robot/keys/runs",
        "a risk-averse-and-slow-policy",
        "ask-me-anything-at-all",
        "ollama",
    ):
        assert keys.hide(text) == text


@pytest.mark.parametrize(
    "argument", ["llm.api_key=x", "+llm.openai_key=x", "++llm.token=x", "llm.model=sk-SENTINEL0123456789"]
)
def test_a_key_on_the_command_line_is_refused_before_anything_repeats_it(argument: str) -> None:
    with pytest.raises(UserError, match="does not belong on the command line") as caught:
        keys.refuse_in_arguments(["task=uav_nav", argument])
    assert "SENTINEL" not in str(caught.value)
    keys.refuse_in_arguments(["llm=openai", "llm.model=gpt-5-mini", "llm.max_output_tokens=5"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "opanai"}, "did you mean|openai"),
        ({"model": None}, r"llm\.model=…"),
        ({"base_url": None}, r"llm\.base_url=http"),
        ({"base_url": "localhost:8000"}, "must be an address"),
        ({"answers": "shema"}, "schema"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"retries": -1}, "retries"),
        ({"max_requests": -1}, "max_requests"),
        ({"max_output_tokens": 10}, "less than one answer may have"),
        ({"max_dollars": 1.0}, "nobody knows the price of llm.model=m"),
        ({"input_price": 1.0}, "belong together"),
        ({"folder": "x"}, r"llm=compatible has no setting llm\.folder; it has llm\.model, "),
        ({"name": "none"}, r"llm=none has no setting llm\.\w+; it asks nobody; manual, "),
        ({"name": "manual"}, r"llm=manual has no setting llm\.\w+; it has llm\.folder$"),
    ],
)
def test_settings_that_make_no_sense_are_told(settings: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        make_model(LLMConfig(**vars(config("http://localhost")) | settings), tmp_path)


def test_no_model_is_no_model(tmp_path: Path) -> None:
    assert make_model(LLMConfig(), tmp_path) is None
    assert not list(tmp_path.iterdir())
