"""The providers, one case each: where they are, and the class of pydantic-ai that speaks with them.

Every key is handed over explicitly, a placeholder where there is none: left to themselves, the libraries would look
into the environment and might send one provider's key to another's server.
"""

from urllib.parse import urlsplit

import httpx2
from pydantic_ai.models import Model

from robo_ppo.config import LLMConfig
from robo_ppo.errors import UserError

_BASE_URLS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "google": "https://generativelanguage.googleapis.com",
    "ollama": "http://localhost:11434/v1",
    "vllm": "http://localhost:8000/v1",
}
_NO_KEY = "no-key"


def base_url(config: LLMConfig) -> str:
    """Where the server is."""
    url = config.base_url or _BASE_URLS.get(config.name)
    if not url:
        raise UserError(f"llm={config.name} needs the address of its server: llm.base_url=http://…/v1")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"llm.base_url={url}; it must be an address as http://localhost:8000/v1")
    return url


def model(config: LLMConfig, base_url: str, key: str | None, client: httpx2.AsyncClient) -> Model:
    """The model, which will send through the client."""
    name, key = config.model or "", key or _NO_KEY
    match config.name:
        case "anthropic":
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider

            return AnthropicModel(name, provider=AnthropicProvider(api_key=key, base_url=base_url, http_client=client))
        case "google":
            from pydantic_ai.models.google import GoogleModel
            from pydantic_ai.providers.google import GoogleProvider

            return GoogleModel(name, provider=GoogleProvider(api_key=key, base_url=base_url, http_client=client))
        case _:
            from pydantic_ai.models.openai import OpenAIChatModel
            from pydantic_ai.providers.ollama import OllamaProvider
            from pydantic_ai.providers.openai import OpenAIProvider
            from pydantic_ai.providers.vllm import VLLMProvider

            kinds = {"ollama": OllamaProvider, "vllm": VLLMProvider}
            kind = kinds.get(config.name, OpenAIProvider)
            return OpenAIChatModel(name, provider=kind(api_key=key, base_url=base_url, http_client=client))
