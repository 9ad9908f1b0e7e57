"""A server of plain sockets that sends whatever bytes it is told to, and counts what it gets and what is taken.

It knows what a request wants by its method and path, and has one answer, or several in turn, for each `Kind`. It is the
gateway, its file store, a media host and a file host at once. As a proxy (`CONNECT`) it also stands for every host of
the internet, with a certificate for each.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import socket
import ssl
import struct
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: the kernel ends the connection with a reset."""

PIECE_BYTES = 64 * 1024


class Kind(StrEnum):
    """What a request wants."""

    CREATE = "create"
    POLL = "poll"
    LIST = "list"
    CANCEL = "cancel"
    POLICY = "policy"
    UPLOAD = "upload"
    MEDIA = "media"
    VIDEO = "video"
    STRAY = "stray"
    """A request that nobody should send: wherever an answer tried to lead the client."""


_ROUTES: tuple[tuple[str, str, Kind], ...] = (
    ("POST", r"(/wan)?/api/v1/services/aigc/video-generation/video-synthesis", Kind.CREATE),
    ("POST", r"/api/v1/tasks/[^/]+/cancel", Kind.CANCEL),
    ("GET", r"/api/v1/tasks/?", Kind.LIST),
    ("GET", r"(/api)?/v1/tasks/[^/]+", Kind.POLL),
    ("GET", r"/api/v1/uploads", Kind.POLICY),
    ("POST", r"/store.*", Kind.UPLOAD),
    ("GET", r"/media/.*", Kind.MEDIA),
    ("GET", r"/video/.*", Kind.VIDEO),
)

Act = Callable[["Peer"], None]
"""What an answer does with the connection, once the request has been read."""


@dataclass
class Request:
    """A request as it came.

    :param host: the host that the client thinks it speaks to, from CONNECT or from the Host header.
    """

    kind: Kind
    method: str
    target: str
    host: str
    headers: dict[str, str]
    body: bytes
    raw: bytes = field(repr=False)


class Peer:
    """The client's end of one connection.

    :ivar request: the request, once it has been read.
    :ivar sent_bytes: how many bytes the client's machine has taken; not those that still wait here.
    """

    def __init__(self, connection: socket.socket, server: HostileServer) -> None:
        self.connection = connection
        self.server = server
        self.request: Request | None = None
        self.sent_bytes = 0

    def send(self, data: bytes) -> None:
        """Send bytes, and count them as they are taken."""
        view = memoryview(data)
        while view:
            count = self.connection.send(view[:PIECE_BYTES])
            self.sent_bytes += count
            view = view[count:]

    def stream(self, pieces: Iterable[bytes]) -> None:
        """Send pieces until there are no more, or the client has gone."""
        for piece in pieces:
            self.send(piece)

    def drip(self, data: Iterable[bytes], every_s: float) -> None:
        """Send one piece at a time, with a pause after each."""
        for piece in data:
            self.send(piece)
            if self.server.over.wait(every_s):
                return

    def has_left(self, within_s: float) -> bool:
        """Return whether the client closes the connection within so many seconds."""
        self.connection.settimeout(within_s)
        try:
            return not self.connection.recv(1)
        except TimeoutError:
            return False

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def reset(self) -> None:
        """End the connection with a reset, after what was sent has arrived."""
        if not isinstance(self.connection, ssl.SSLSocket):
            ends_at = time.monotonic() + 5  # a client that has left takes no more
            while _waiting_bytes(self.connection) and time.monotonic() < ends_at:
                time.sleep(0.001)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


class HostileServer:
    """Answers as a test says, on a free port of this machine, one thread for each connection.

    :param tls: the TLS context with which it answers as a proxy for https.
    :ivar unread: kinds of requests that are answered before their body has been read.
    :ivar requests: every request, as it came.
    :ivar hosts: every host that a client asked it, as a proxy, to connect to.
    :ivar sent: how many bytes of answers clients have taken, by kind.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._lock = threading.Lock()
        self._live: dict[int, int] = {}
        self._spent_cpu_s = 0.0
        self._idle = threading.Condition(self._lock)
        self.over = threading.Event()
        self.reset()

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        # Small buffers: what is counted as sent is then little more than what the client has read.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE_BYTES)
        self.port = self._listener.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._serve, name="hostile", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._listener.close()

    def reset(self) -> None:
        """Forget all answers and all that was counted; connections that still drip end."""
        self.over.set()
        with self._idle:
            assert self._idle.wait_for(lambda: not self._live, timeout=60), "a connection does not end"
        self.over = threading.Event()
        self.answers: dict[Kind, list[Act]] = {}
        self.unread: set[Kind] = set()
        self.requests: list[Request] = []
        self.hosts: list[str] = []
        self.sent: Counter[Kind] = Counter()

    def settle(self) -> None:
        """Return when every connection has ended, so that all is counted."""
        with self._idle:
            assert self._idle.wait_for(lambda: not self._live, timeout=60), "a client did not close its connection"

    def on(self, kind: Kind, *acts: Act) -> None:
        """Answer a kind of request by each act in turn, and by the last one from then on."""
        self.answers[kind] = list(acts)

    def count(self, kind: Kind | None = None, *, method: str | None = None) -> int:
        """Return the number of requests of a kind, or of a method."""
        return sum(kind in (None, one.kind) and method in (None, one.method) for one in self.requests)

    @property
    def cpu_s(self) -> float:
        """CPU time that the server's own threads have taken, in seconds."""
        with self._lock:
            return self._spent_cpu_s + sum(map(time.clock_gettime, self._live.values()))

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._handle, args=(connection,), name="hostile-peer", daemon=True)
            thread.start()

    def _handle(self, connection: socket.socket) -> None:
        me = threading.get_ident()
        with self._lock:
            self._live[me] = time.pthread_getcpuclockid(me)
        peer = Peer(connection, self)
        try:
            with contextlib.suppress(OSError, ValueError), contextlib.closing(peer):
                self._answer(peer)
        finally:
            with self._idle:
                if peer.request is not None:
                    self.sent[peer.request.kind] += peer.sent_bytes
                self._spent_cpu_s += time.clock_gettime(self._live.pop(me))
                self._idle.notify_all()

    def _answer(self, peer: Peer) -> None:
        peer.connection.settimeout(20)
        request = _read_request(peer.connection, self.unread)
        if request.method == "CONNECT":
            self._note_host(request.target)
            peer.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            peer.connection = self._tls.wrap_socket(peer.connection, server_side=True)
            through = request.target
            request = _read_request(peer.connection, self.unread)
            request.host = through.rpartition(":")[0]
        peer.request = request
        with self._lock:
            self.requests.append(request)
            turns = self.answers.get(request.kind)
            act = None if not turns else turns.pop(0) if len(turns) > 1 else turns[0]
        if act is None:
            peer.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            act(peer)

    def _note_host(self, target: str) -> None:
        with self._lock:
            self.hosts.append(target.rpartition(":")[0])


def _waiting_bytes(connection: socket.socket) -> int:
    return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0])


def _read_request(connection: socket.socket, unread: Collection[Kind] = ()) -> Request:
    """Return the next request; of some kinds the head alone, and the body stays in the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(PIECE_BYTES)
        if not piece:
            raise ConnectionError
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    path = re.sub(r"^[a-z]+://[^/]+", "", target).partition("?")[0]
    kind = next((kind for verb, route, kind in _ROUTES if verb == method and re.fullmatch(route, path)), Kind.STRAY)
    pieces = [body]
    missing = 0 if kind in unread else int(headers.get("content-length", "0")) - len(body)
    while missing > 0 and (piece := connection.recv(PIECE_BYTES)):
        pieces.append(piece)
        missing -= len(piece)
    return Request(kind, method, target, headers.get("host", ""), headers, b"".join(pieces), data)
