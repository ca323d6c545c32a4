"""HTTP to a provider with what its library leaves open closed: no endless bodies, redirects, proxy for loopback.

Headers that nobody asked for are not sent. A redirect could carry a key to another host. A body is read to `LONGEST`
bytes and no further, and compressed ones, which could unfold to anything, are neither asked for nor read.
"""

import urllib.request
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx2

LONGEST = 4_000_000  # bytes of a response
# Libraries add headers from the environment, an organisation's name or a company's token, whoever the server is.
_SENT = set(
    "host connection accept accept-encoding content-type content-length transfer-encoding user-agent authorization "
    "x-api-key x-goog-api-key anthropic-version anthropic-beta".split()
)
_SENT_TO = {"api.openai.com": {"openai-organization", "openai-project"}}


class UnfitResponse(Exception):
    """A response that is not read to its end."""


class Redirected(Exception):
    """A response that sends the request, and the key with it, somewhere else."""


def client(base_url: str, timeout: float) -> httpx2.AsyncClient:
    """A client for one server; `timeout` (s) is for each wait within a request."""
    is_encrypted = urlsplit(base_url).scheme == "https"  # without, certificates would be read for nothing
    return httpx2.AsyncClient(
        transport=_Bounded(httpx2.AsyncHTTPTransport(verify=is_encrypted, proxy=_proxy(base_url))),
        timeout=httpx2.Timeout(timeout, connect=min(timeout, 10.0)),
        headers={"Accept-Encoding": "identity", "User-Agent": "robo_ppo"},
        follow_redirects=False,
    )


def is_loopback(base_url: str) -> bool:
    """Whether the server is on this machine."""
    host = urlsplit(base_url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _proxy(base_url: str) -> str | None:
    """The proxy that the environment names for a server."""
    parts = urlsplit(base_url)
    if is_loopback(base_url) or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


class _Bounded(httpx2.AsyncBaseTransport):
    """A transport whose responses end."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        allowed = _SENT | _SENT_TO.get(request.url.host, set())
        for name in set(request.headers) - allowed:
            del request.headers[name]
        request.headers["Accept-Encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        if response.is_redirect:
            await response.aclose()
            raise Redirected(
                f"HTTP {response.status_code} points elsewhere, where no key is sent; is llm.base_url right?"
            )
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            await response.aclose()
            raise UnfitResponse("the server compressed its response, though it was asked not to")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _BoundedStream(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx2.AsyncByteStream):
    """A body that raises once it is longer than anybody's answer."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for chunk in self._inner:
            seen += len(chunk)
            if seen > LONGEST:
                raise UnfitResponse(f"the response has more than {LONGEST:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
