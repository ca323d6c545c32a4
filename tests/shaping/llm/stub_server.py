"""A server on loopback that answers as a test tells it to, and keeps every request: providers at the wire."""

import json
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Response = Callable[["Handler"], None]


@dataclass
class Seen:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Handler(BaseHTTPRequestHandler):
    """One request: the next response of the script, the last one again and again."""

    server: "Stub"  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, json.loads(body)))
        script = self.server.script
        (script.pop(0) if len(script) > 1 else script[0])(self)
        self.close_connection = True

    def send(self, body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}.items():
            self.send_header(name, value)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:  # the other side has seen enough
            pass

    def log_message(self, format: str, *args: object) -> None:
        pass


class Stub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, script: list[Response]) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.is_over = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def stub(*script: Response) -> Generator[Stub]:
    server = Stub(list(script))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.is_over.set()
        server.shutdown()
        server.server_close()


def chat(text: str, *, tokens: tuple[int, int] | None = (100, 10), finish: str = "stop") -> Response:
    """A chat completion in OpenAI's form."""
    message = {"role": "assistant", "content": text}
    content: dict[str, Any] = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    if tokens is not None:
        content["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return lambda handler: handler.send(json.dumps(content).encode())


def tool(arguments: str) -> Response:
    """A chat completion whose answer is a tool's arguments."""
    call = {"id": "t", "type": "function", "function": {"name": "answer", "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    content = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return lambda handler: handler.send(json.dumps(content).encode())


def claude(text: str) -> Response:
    """A message in Anthropic's form, with the answer as a tool's arguments."""
    content = {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "tool_use", "id": "t", "name": "answer", "input": json.loads(text)}],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 100, "output_tokens": 10},
    }
    return lambda handler: handler.send(json.dumps(content).encode())


def gemini(text: str) -> Response:
    """A response in Google's form."""
    content = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110},
        "modelVersion": "gemini-2.5-flash",
    }
    return lambda handler: handler.send(json.dumps(content).encode())


def raw(body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> Response:
    return lambda handler: handler.send(body, status, kind, **headers)


def half(text: str) -> Response:
    """The headers of a whole answer and half of its body, then nothing."""

    def respond(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(2 * len(text)))
        handler.end_headers()
        handler.wfile.write(text.encode())
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    return respond


def hang(handler: Handler) -> None:
    """Nothing, until the test is over."""
    handler.server.is_over.wait(30)


def drip(handler: Handler) -> None:
    """A byte now and then, so that no single wait is long."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    while not handler.server.is_over.is_set():
        try:
            handler.wfile.write(b" ")
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.05)
