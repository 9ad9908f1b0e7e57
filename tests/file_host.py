"""A file host whose answers a test defines, with and without TLS; and a maker of real mp4 files."""

from __future__ import annotations

import fcntl
import socket
import ssl
import struct
import tempfile
import termios
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import av
import pytest
from certificates import self_signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class FileHost:
    """An HTTP server that answers each path with the function that a test set for it, and records the requests.

    :ivar requests: path and headers of each request; header names are in lower case.
    :ivar answers: the function that answers a path.
    :ivar body_bytes: the number of bytes sent from objects that were set with `keeps`.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.body_bytes = 0
        self._tls = tls

    def __enter__(self) -> Self:
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                host.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                self.close_connection = True
                with suppress(ConnectionError):  # a client may leave early
                    host.answers[self.path.partition("?")[0]](self)

            def log_message(self, *_: object) -> None:
                """Do not log requests."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if self._tls else "http"
        self.base_url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str) -> str:
        """Return a signed URL of a path."""
        return f"{self.base_url}{path}?Expires=1&OSSAccessKeyId=LTAIxyz&Signature=TOPSECRET"

    def serves(self, path: str, status: int, body: bytes, *, announced: int | None = None, **headers: str) -> None:
        """Answer a path with this status and body.

        :param announced: the Content-Length in bytes; the length of the body if None, no such header if -1.
        """

        def answer(handler: BaseHTTPRequestHandler) -> None:
            length = len(body) if announced is None else announced
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            if length >= 0:
                handler.send_header("Content-Length", str(length))
            handler.send_header("Connection", "close")
            handler.end_headers()
            handler.wfile.write(body)

        self.answers[path] = answer

    def redirects(self, path: str, location: str, status: int = 302) -> None:
        """Answer a path with a redirect."""
        self.serves(path, status, b"elsewhere", Location=location)

    def breaks_off(self, path: str, body: bytes, announced: int, **headers: str) -> None:
        """Answer a path with the beginning of a body, then reset the connection."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.send_header("Content-Length", str(announced))
            handler.end_headers()
            handler.wfile.write(body)
            reset(handler)

        self.answers[path] = answer

    def keeps(
        self, path: str, content: bytes, headers: dict[str, str] | None = None, *, breaks: Iterable[int] = ()
    ) -> None:
        """Answer a path as an object store does, with the given headers of the object.

        :param headers: the validators and checksums of the object.
        :param breaks: for each of the first answers, the number of bytes after which the connection is reset.
        """
        stored, cuts = Stored(content, headers or {}), iter(breaks)

        def answer(handler: BaseHTTPRequestHandler) -> None:
            status, answered, body = stored.answer(handler.headers.get("Range"), handler.headers.get("If-Range"))
            cut = next(cuts, None)
            handler.send_response(status)
            for name, value in answered.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            sent = body if cut is None else body[:cut]
            self.body_bytes += len(sent)  # before the client can have them all
            handler.wfile.write(sent)
            if cut is not None:
                reset(handler)

        self.answers[path] = answer

    def in_turn(self, path: str, *others: str) -> None:
        """Answer a path like each of the other paths in turn, and like the last one from then on."""
        turns = [self.answers[other] for other in others]

        def answer(handler: BaseHTTPRequestHandler) -> None:
            turn = turns.pop(0) if len(turns) > 1 else turns[0]
            turn(handler)

        self.answers[path] = answer


@dataclass
class Stored:
    """An object in an object store, with the validators and checksums in its headers."""

    content: bytes
    headers: dict[str, str]

    def answer(self, wanted: str | None, on_condition: str | None) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for a request of one range with an open end (RFC 9110)."""
        is_same = on_condition in (None, self.headers.get("ETag"), self.headers.get("Last-Modified"))
        if wanted is None or not is_same:
            return 200, self.headers, self.content
        start, size = int(wanted.removeprefix("bytes=").removesuffix("-")), len(self.content)
        if start >= size:
            return 416, {"Content-Range": f"bytes */{size}"}, b""
        return 206, self.headers | {"Content-Range": f"bytes {start}-{size - 1}/{size}"}, self.content[start:]


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Reset the TCP connection after the client has received everything that was written."""
    handler.wfile.flush()
    # A reset discards bytes that are not yet sent, and the kernel does not report when all are sent.
    while struct.unpack("i", fcntl.ioctl(handler.connection, termios.TIOCOUTQ, bytes(4)))[0]:
        time.sleep(0.001)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


@pytest.fixture
def host() -> Iterator[FileHost]:
    """Start a file host on loopback with plain http."""
    with FileHost() as server:
        yield server


@dataclass(frozen=True)
class Tls:
    """TLS contexts of a server and its clients; the certificate is for 127.0.0.1 and files.example."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    private, pem = self_signed(["files.example"], ["127.0.0.1"])
    chain = tmp_path_factory.mktemp("tls") / "chain.pem"
    chain.write_bytes(private + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain)
    return Tls(server, ssl.create_default_context(cadata=pem.decode()))


@pytest.fixture
def tls_hosts(tls: Tls) -> Iterator[Callable[[], FileHost]]:
    """Return a function that starts a file host with https."""
    with ExitStack() as running:
        yield lambda: running.enter_context(FileHost(tls.server))


class Proxy:
    """A proxy that connects every CONNECT request to the same file host, and records the requests."""

    def __init__(self, target: FileHost) -> None:
        self.requests: list[tuple[str, str | None]] = []
        self._target = urlsplit(target.base_url)

    def __enter__(self) -> Self:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                proxy.requests.append((self.path, self.headers.get("Proxy-Authorization")))
                with socket.create_connection((str(proxy._target.hostname), int(proxy._target.port or 0))) as far:
                    self.send_response(200)
                    self.end_headers()
                    pump = threading.Thread(target=_copy, args=(self.connection, far), daemon=True)
                    pump.start()
                    _copy(far, self.connection)
                    pump.join()

            def log_message(self, *_: object) -> None:
                """Do not log requests."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[FileHost], Proxy]]:
    """Return a function that starts a proxy to a file host, and sets HTTPS_PROXY to it."""
    with ExitStack() as running:

        def through(target: FileHost, scheme: str = "http://") -> Proxy:
            proxy = running.enter_context(Proxy(target))
            monkeypatch.setenv("HTTPS_PROXY", f"{scheme}me:p%40ss@127.0.0.1:{proxy.port}")
            return proxy

        yield through


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Return a dict in which a test sets the addresses of host names; other names cannot be resolved.

    It has one list of addresses for each look-up; the last list is used from then on.
    """
    known: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def look_up(host: str, port: int | None, *rest: Any, **named: Any) -> Any:
        if host[0].isdigit():
            return real(host, port, *rest, **named)
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        turns = known[host]
        addresses = turns.pop(0) if len(turns) > 1 else turns[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def make_mp4(
    *,
    seconds: float = 1.0,
    size: tuple[int, int] = (320, 180),
    audio: bool = True,
    options: dict[str, str] | None = None,
) -> bytes:
    """Return an mp4 file whose frames have one shade of grey each; it has a silent sound track unless `audio` is false.

    :param seconds: its duration.
    :param size: width and height in pixels.
    :param options: of the muxer.
    """
    rate = 24
    folder = tempfile.TemporaryDirectory()
    target = Path(folder.name) / "made.mp4"  # a real file, because the muxer opens it again to put the header first
    with folder, av.open(str(target), "w", format="mp4", options=options or {}) as container:
        video = container.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.options = {"preset": "ultrafast"}
        sound = container.add_stream("aac", rate=48_000, layout="mono") if audio else None
        for number in range(round(seconds * rate)):
            frame = av.VideoFrame(*size, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([number % 256]) * plane.buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            for number in range(round(seconds * 48_000 / 1024)):
                silence = av.AudioFrame(format="fltp", layout="mono", samples=1024)
                silence.planes[0].update(bytes(silence.planes[0].buffer_size))
                silence.sample_rate, silence.pts, silence.time_base = 48_000, number * 1024, Fraction(1, 48_000)
                container.mux(sound.encode(silence))
            container.mux(sound.encode(None))
        container.close()
        return target.read_bytes()


@pytest.fixture(scope="session")
def mp4() -> Callable[..., bytes]:
    """Return a function that makes mp4 files; see `make_mp4`."""
    return make_mp4


@pytest.fixture(scope="session")
def film() -> bytes:
    """Return an mp4 file: one second of video with sound."""
    return make_mp4()


@pytest.fixture
def film_file(film: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(film)
    return path
