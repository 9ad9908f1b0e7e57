"""A file host that answers as a test says, with and without TLS; and real mp4 files."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import struct
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Self

import av
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class FileHost:
    """Serves each path by the function that a test gave it, and remembers what was asked for."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self._tls = tls

    def __enter__(self) -> Self:
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                host.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                self.close_connection = True
                host.answers[self.path.partition("?")[0]](self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

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
        """A signed URL of a path."""
        return f"{self.base_url}{path}?Expires=1&OSSAccessKeyId=LTAIxyz&Signature=TOPSECRET"

    def serves(self, path: str, status: int, body: bytes, *, announced: int | None = None, **headers: str) -> None:
        """Answer a path with this; `announced` is the Content-Length, -1 for none."""

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

    def breaks_off(self, path: str, body: bytes, announced: int) -> None:
        """Answer a path with the begin of a body, and reset the connection."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(announced))
            handler.end_headers()
            handler.wfile.write(body)
            handler.wfile.flush()
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()

        self.answers[path] = answer


@pytest.fixture
def host() -> Iterator[FileHost]:
    """A file host on loopback that speaks plain http."""
    with FileHost() as server:
        yield server


@dataclass(frozen=True)
class Tls:
    """A certificate for 127.0.0.1, seen from both ends."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "airflow-wan tests")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = tmp_path_factory.mktemp("tls") / "chain.pem"
    chain.write_bytes(private + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain)
    return Tls(server, ssl.create_default_context(cadata=pem.decode()))


@pytest.fixture
def tls_hosts(tls: Tls) -> Iterator[Callable[[], FileHost]]:
    """Starts file hosts that speak https."""
    with ExitStack() as running:
        yield lambda: running.enter_context(FileHost(tls.server))


def make_mp4(
    *,
    seconds: float = 1.0,
    size: tuple[int, int] = (320, 180),
    audio: bool = True,
    options: dict[str, str] | None = None,
) -> bytes:
    rate = 24
    folder = tempfile.TemporaryDirectory()
    target = Path(folder.name) / "made.mp4"  # a real file: to put the header first, the muxer opens it again
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
                noise = av.AudioFrame(format="fltp", layout="mono", samples=1024)
                noise.planes[0].update(bytes(noise.planes[0].buffer_size))
                noise.sample_rate, noise.pts, noise.time_base = 48_000, number * 1024, Fraction(1, 48_000)
                container.mux(sound.encode(noise))
            container.mux(sound.encode(None))
        container.close()
        return target.read_bytes()


@pytest.fixture(scope="session")
def mp4() -> Callable[..., bytes]:
    """Makes mp4 files; see `make_mp4`."""
    return make_mp4


@pytest.fixture(scope="session")
def film() -> bytes:
    """A second of video with sound."""
    return make_mp4()


@pytest.fixture
def film_file(film: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(film)
    return path
