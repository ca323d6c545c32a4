"""A provider's model as a voice: one HTTP request for every attempt, through pydantic-ai.

    voice = Provider(LLMConfig(name="ollama", model="qwen3:14b"))
    reply = voice.reply(asked, refused)

pydantic-ai knows each provider's requests, pictures and usage; it is asked for one response at a time and never to
validate, retry or count, since that is the same for everybody here (`Recorded`). Whatever fails becomes a `NoReply`
whose message holds no key. The library is imported when a provider is chosen: pip install 'robo-ppo[llm]'.
"""

import asyncio
import warnings
from collections.abc import Sequence

try:
    from pydantic_ai.direct import model_request
    from pydantic_ai.exceptions import ModelConnectionError, ModelHTTPError, ModelRequestTimeout
    from pydantic_ai.exceptions import UserError as NotSupported
    from pydantic_ai.messages import (
        BinaryContent,
        ModelMessage,
        ModelRequest,
        ModelResponse,
        SystemPromptPart,
        TextPart,
        ToolCallPart,
        UserContent,
        UserPromptPart,
    )
    from pydantic_ai.models import Model, ModelRequestParameters
    from pydantic_ai.output import OutputObjectDefinition
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.tools import ToolDefinition

    from robo_ppo.shaping.llm import http
except ImportError as missing:
    from robo_ppo.errors import UserError

    raise UserError(f"a provider's model needs packages: pip install 'robo-ppo[llm]' ({missing})") from None

from robo_ppo.config import LLMConfig
from robo_ppo.shaping.llm import keys, prices, provider_models
from robo_ppo.shaping.llm.model import Usage
from robo_ppo.shaping.llm.plain_text import one_line
from robo_ppo.shaping.llm.voice import Asked, NoReply, Refused, Reply

_PASSING = {408, 409, 425, 429}  # besides 500 and above: worth another attempt
_LONGEST_REPEATED = 20_000  # characters of a refused answer that are sent back
_PICTURE_TOKENS = 1500  # what one is expected to cost
_BYTES_PER_TOKEN = 3.0  # of our prompts: numbers and code have more tokens than prose, which has 4 bytes for each


class Provider:
    """Asks a server."""

    def __init__(self, config: LLMConfig) -> None:
        """A model, and a key from the environment where it needs one; nothing is sent yet.

        Raises:
            UserError: the key is missing, or a budget in dollars is asked for and nobody knows the price.
        """
        self.name = f"{config.name}/{config.model}"
        self._config = config
        self._base_url = provider_models.base_url(config)
        self._key = keys.key_of(config.name)
        self._prices = prices.Prices(config)

    def estimate(self, asked: Asked, refused: Sequence[Refused]) -> Usage:
        """The whole prompt, by its length, and the longest answer that is allowed."""
        return self._usage(self._expected_input(asked, refused), self._config.max_answer_tokens)

    def reply(self, asked: Asked, refused: Sequence[Refused]) -> Reply:
        """The text of one response."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of settings that a model does not know, and prices that nobody does
            try:
                response = asyncio.run(self._respond(asked, refused))
                text = keys.hide(_text_of(response))
            except Exception as error:  # a provider's library raises what it likes, and the run must not end by it
                raise self._no_reply(error, asked, refused) from None
        spent = response.usage  # as far as the server says
        usage = self._usage(
            spent.input_tokens if spent.input_tokens > 0 else self._expected_input(asked, refused),
            spent.output_tokens if spent.output_tokens > 0 else round(len(text.encode()) / _BYTES_PER_TOKEN),
        )
        if response.finish_reason == "length":
            limit = self._config.max_answer_tokens
            raise NoReply(f"the answer was cut off at llm.max_answer_tokens={limit}, thinking included", usage)
        if response.finish_reason == "content_filter":
            raise NoReply("the provider's content filter held the answer back", usage)
        return Reply(text, usage)

    async def _respond(self, asked: Asked, refused: Sequence[Refused]) -> ModelResponse:
        config = self._config
        settings = ModelSettings(
            max_tokens=config.max_answer_tokens,
            timeout=config.timeout_s,
            request_timeout=config.timeout_s,
            max_retries=0,
        )
        if config.temperature is not None:
            settings["temperature"] = config.temperature
        async with http.client(self._base_url, config.timeout_s) as client:
            model = provider_models.model(config, self._base_url, self._key, client)
            return await model_request(
                model,
                _messages(asked, refused, with_pictures=config.pictures),
                model_settings=settings,
                model_request_parameters=self._form(asked, model),
            )

    def _form(self, asked: Asked, model: Model) -> ModelRequestParameters:
        """How the form of the answer is demanded; the prompt says it in words in any case."""
        form, chosen = asked.form, self._config.answers
        if chosen == "auto":
            chosen = "tool" if self._config.name == "anthropic" else "schema"
        if chosen == "schema":
            wanted = OutputObjectDefinition(json_schema=form.schema, name=form.name)
            return ModelRequestParameters(output_mode="native", output_object=wanted)
        if chosen == "tool":
            tool = ToolDefinition(name="answer", parameters_json_schema=form.schema, kind="output")
            return ModelRequestParameters(output_mode="tool", output_tools=[tool], allow_text_output=False)
        return ModelRequestParameters()

    def _usage(self, input_tokens: int, output_tokens: int) -> Usage:
        return Usage(1, input_tokens, output_tokens, self._prices.dollars(input_tokens, output_tokens))

    def _expected_input(self, asked: Asked, refused: Sequence[Refused]) -> int:
        words = [asked.question.system, asked.text, *(item.text[:_LONGEST_REPEATED] + item.why for item in refused)]
        pictures = len(asked.question.pictures) if self._config.pictures else 0
        size = sum(len(text.encode("utf-8", "replace")) for text in words)
        return round(size / _BYTES_PER_TOKEN) + pictures * _PICTURE_TOKENS

    def _no_reply(self, error: Exception, asked: Asked, refused: Sequence[Refused]) -> NoReply:
        """What went wrong, in a sentence without a key, and whether another attempt may help."""
        config = self._config
        where = f"{config.name} at {self._base_url}"
        unanswered = self.estimate(asked, refused)  # it may have been written, and be paid for, all the same
        unfit = _caused_by(error, http.UnfitResponse)
        if unfit is not None:
            return NoReply(f"{where}: {unfit}", unanswered)
        redirected = _caused_by(error, http.Redirected)
        if redirected is not None:
            return NoReply(f"{where}: {redirected}", Usage(1), is_final=True)
        if isinstance(error, ModelRequestTimeout):
            return NoReply(f"{where}: no answer within llm.timeout_s={config.timeout_s:g}", unanswered)
        if isinstance(error, ModelHTTPError):
            status, said = error.status_code, _shown(_message_in(error.body))
            hint = self._hint(status)
            message = f"{where} answered with HTTP {status}{hint}: {said}"
            is_final = status < 500 and status not in _PASSING
            return NoReply(message, Usage(1), error.retry_after, is_final)
        if isinstance(error, ModelConnectionError) and error.phase in ("pool", "connect"):
            return NoReply(f"{where} cannot be reached: {_shown(str(error))}", Usage())
        if isinstance(error, ImportError):
            return NoReply(f"{where} needs packages: pip install 'robo-ppo[llm]' ({error})", Usage(), is_final=True)
        if isinstance(error, NotSupported):
            return NoReply(f"{where}: {_shown(str(error))}", Usage(), is_final=True)
        return NoReply(f"{where}: {type(error).__name__}: {_shown(str(error))}", unanswered)

    def _hint(self, status: int) -> str:
        config = self._config
        match status:
            case 400 | 422 if config.answers != "text":
                return " (a server that cannot be told the form of an answer needs llm.answers=text)"
            case 401 | 403:
                return f" (is {keys.variable_of(config.name)} right?)"
            case 404:
                return f" (is there a model {one_line(str(config.model), 80)}, and is llm.base_url right?)"
            case _:
                return ""


def _messages(asked: Asked, refused: Sequence[Refused], *, with_pictures: bool) -> list[ModelMessage]:
    """The question with its pictures, then every refused answer with what was wrong with it."""
    content: list[UserContent] = []
    for picture in asked.question.pictures if with_pictures else ():
        content += [picture.caption, BinaryContent(picture.png, media_type="image/png")]
    content.append(asked.text)
    system = [SystemPromptPart(asked.question.system)] if asked.question.system else []
    messages: list[ModelMessage] = [ModelRequest([*system, UserPromptPart(content)])]
    for item in refused:
        again = f"That answer was refused: {item.why}\nGive the whole answer again, as one JSON object."
        messages += [
            ModelResponse([TextPart(item.text[:_LONGEST_REPEATED] or "(nothing)")]),
            ModelRequest([UserPromptPart(again)]),
        ]
    return messages


def _text_of(response: ModelResponse) -> str:
    """What a model said: the arguments of the tool that stands for the answer, or its words."""
    text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
    for part in response.parts:
        if isinstance(part, ToolCallPart):
            text = part.args if isinstance(part.args, str) else part.args_as_json_str()
            break
    return text.encode("utf-8", "replace").decode()  # half a character, as a server may send, is in no file or request


def _message_in(body: object) -> str:
    """The sentence in an error's body, which is JSON of one form or another, or a page."""
    while isinstance(body, dict | list):
        if isinstance(body, list):
            body = body[0] if body else ""
        else:
            body = body.get("error") or body.get("message") or body.get("detail") or str(body)
    return str(body or "no reason given")


def _shown(text: str) -> str:
    return one_line(keys.hide(text), 300)


def _caused_by(error: BaseException | None, kind: type[Exception]) -> Exception | None:
    """The exception of a kind behind another one."""
    for _ in range(20):
        if error is None or isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None
