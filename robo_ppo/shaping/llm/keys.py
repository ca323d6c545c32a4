"""Keys of language models: they come from the environment, and from here they go nowhere but to the server.

    key = key_of("openai")                        # OPENAI_API_KEY, or one clear message
    hide("401: no such key sk-abc…")              # what servers echo never reaches a file, a message or a terminal

A key in the configuration would be kept in the run, so it is refused wherever it stands.
"""

import os
import re
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from robo_ppo.config import LLMConfig
from robo_ppo.errors import UserError

# The variables of each provider, the first that is set counts; and whether it can do without.
_VARIABLES: dict[str, tuple[tuple[str, ...], bool]] = {
    "openai": (("OPENAI_API_KEY",), False),
    "anthropic": (("ANTHROPIC_API_KEY",), False),
    "google": (("GOOGLE_API_KEY", "GEMINI_API_KEY"), False),
    "ollama": (("ROBO_PPO_LLM_API_KEY",), True),
    "vllm": (("ROBO_PPO_LLM_API_KEY",), True),
    "compatible": (("ROBO_PPO_LLM_API_KEY",), True),
}
_OURS = {name for names, _ in _VARIABLES.values() for name in names}
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_LOOKS_LIKE_KEY = re.compile(r"\b(sk-[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{20,})")
_KEY_SETTING = re.compile(r"^[+~]*llm\.\w*(?:key|token|secret|password)=", re.IGNORECASE)
_USER_IN_URL = re.compile(r"(?<=://)[^/\s@]+@")
_SHORTEST = 6  # characters of one of our keys; another secret must be longer to be told from a word
_SHORTEST_OTHER = 12
_HIDDEN = "(hidden)"


def key_of(provider: str) -> str | None:
    """The key for a provider; None where it may do without.

    Raises:
        UserError: none is set, or what is set cannot be one.
    """
    names, is_optional = _VARIABLES[provider]
    for name in names:
        key = os.environ.get(name, "").strip()
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise UserError(f"{name} holds characters that no key has; set it again")
        if key:
            return key
    if is_optional:
        return None
    raise UserError(f"llm={provider} needs a key: set {' or '.join(names)} in the environment")


def variable_of(provider: str) -> str:
    """The name of the variable that a provider's key is in, for messages."""
    names, _ = _VARIABLES[provider]
    return next((name for name in names if os.environ.get(name, "").strip()), names[0])


def hide(text: str) -> str:
    """The text without any secret that this process's environment holds, and without users in addresses."""
    for secret in _secrets():
        for form in {secret, quote(secret, safe=""), secret.replace("/", "\\/")}:
            text = text.replace(form, _HIDDEN)
    return _USER_IN_URL.sub(f"{_HIDDEN}@", _LOOKS_LIKE_KEY.sub(_HIDDEN, text))


def refuse_in_arguments(arguments: Sequence[str]) -> None:
    """A `UserError` for a key on the command line, before anything keeps or repeats it."""
    for argument in arguments:
        if _KEY_SETTING.match(argument) or (argument.lstrip("+~").startswith("llm") and hide(argument) != argument):
            raise UserError(
                f"{argument.partition('=')[0]}: a key does not belong on the command line, where other users of the "
                f"machine and the shell's history see it; set it in the environment ({', '.join(sorted(_OURS))})"
            )


def refuse_in_config(config: LLMConfig) -> None:
    """A `UserError` for a key in the configuration, which the run would keep; its message does not repeat it."""
    for name, value in vars(config).items():
        if isinstance(value, str) and hide(value) != value:
            raise UserError(f"llm.{name} holds a key, and the run would keep it; keys belong in the environment")
    try:
        parts = urlsplit(config.base_url or "")
    except ValueError:
        raise UserError("llm.base_url is not an address") from None
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise UserError(
            "llm.base_url must be the address alone, as http://localhost:8000/v1, with no user, password or ?key=… "
            "in it, since the run would keep them; keys belong in the environment"
        )


def _secrets() -> list[str]:
    """Longest first, so that a key that begins with another one is hidden whole."""
    found = {value.strip() for name, value in os.environ.items() if _is_secret(name, value.strip())}
    return sorted(found, key=len, reverse=True)


def _is_secret(name: str, value: str) -> bool:
    """Whether a variable holds one; what names a file that holds one does not."""
    if name in _OURS:
        return len(value) >= _SHORTEST and value not in _VARIABLES  # "ollama", where some key must be set
    return bool(_SECRET_NAME.search(name)) and len(value) >= _SHORTEST_OTHER and value[0] not in "/.~"
