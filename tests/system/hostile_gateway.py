"""A gateway between Airflow and an emulator: it keeps every byte that it receives, and a test may spoil its answers."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

_FORWARD_TIMEOUT_S = 30.0
# What belongs to one connection. Without the host, the emulator signs result URLs for its own address, not for ours.
_NOT_FORWARDED = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Request:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_create(self) -> bool:
        """Whether it orders a video, which costs money."""
        return self.method == "POST" and self.path.endswith("/video-synthesis")

    def __contains__(self, text: str) -> bool:
        """Return whether a text occurs anywhere in the request."""
        head = "\n".join([f"{self.method} {self.path}", *(f"{name}: {value}" for name, value in self.headers.items())])
        return text in head or text.encode() in self.body


@dataclass
class Answer:
    """An answer of the emulator, which a test may change.

    :param payload: the body as JSON. A surrogate in a text is sent as ``\\ud83d`` is written in JSON.
    """

    status: int
    headers: dict[str, str]
    payload: dict[str, Any]


@dataclass
class HostileGateway:
    """Forwards each request to an emulator; use it in a `with` block.

    :param behind: the base URL of the emulator.
    :param spoil: changes the answer to a create or to a poll in place; the first argument is the request.
    :param loses: returns whether a create is dropped: ``"unsent"`` before the emulator sees it, ``"unanswered"`` after
        the emulator has accepted it, and None if it is not dropped. It is asked for each create.
    :ivar requests: every request, in the order of arrival.
    """

    behind: str
    spoil: Callable[[Request, Answer], None] = lambda *_: None
    loses: Callable[[Request], str | None] = lambda _: None
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"gateway": self})
        self._http = httpx.Client(base_url=self.behind, timeout=_FORWARD_TIMEOUT_S, trust_env=False)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._http.close()

    def creates(self) -> list[Request]:
        """Return all create requests that arrived, accepted or not."""
        return [request for request in self.requests if request.is_create]

    def has_seen(self, text: str) -> bool:
        """Return whether a text occurs in anything that arrived."""
        return any(text in request for request in self.requests)

    def answer(self, request: Request) -> Answer | None:
        """Return the answer to a request; None drops the connection."""
        self.requests.append(request)
        lost = self.loses(request) if request.is_create else None
        if lost == "unsent":
            return None
        true = self._http.request(request.method, request.path, headers=request.headers, content=request.body)
        if lost == "unanswered":
            return None
        headers = {name: value for name, value in true.headers.items() if name not in _NOT_FORWARDED}
        answer = Answer(true.status_code, headers, true.json())
        self.spoil(request, answer)
        return answer


class _Handler(BaseHTTPRequestHandler):
    gateway: HostileGateway
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_FORWARDED}
        answer = self.gateway.answer(Request(self.command, self.path, headers, body))
        self.close_connection = True
        if answer is None:
            return
        content = json.dumps(answer.payload).encode()
        with suppress(ConnectionError):  # a client may leave early
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Do not log requests."""
