"""A server that answers whatever a test says, down to the TCP level, and keeps the requests that it gets."""

from __future__ import annotations

import itertools
import json
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class RawServer:
    """Reads and keeps one request a connection, then answers as the test has set it."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._closed = threading.Condition()
        self._closed_connections = 0
        self._over = threading.Event()
        self._act: Callable[[socket.socket], None] = lambda connection: connection.close()
        self._reads_request = True

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.close()

    def answers(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        """Send this answer from now on; as JSON unless the body is bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.sends(f"HTTP/1.1 {status} Whatever\r\n{head}Connection: close\r\n\r\n".encode() + content)

    def sends(self, data: bytes) -> None:
        """Send these bytes from now on, then close the connection."""

        def act(connection: socket.socket) -> None:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        self._act = act

    def drips(self, data: bytes = b"", before: bytes = b"") -> None:
        """Send the first bytes at once from now on, then one byte every 20 ms until the client has closed.

        :param data: these bytes, and the letter x when they are all sent.
        :param before: the first bytes.
        """

        def act(connection: socket.socket) -> None:
            connection.sendall(before)
            for byte in itertools.chain(data, itertools.repeat(ord("x"))):
                connection.sendall(bytes([byte]))
                if self._over.wait(0.02):
                    return

        self._act = act

    def acts(self, act: Callable[[socket.socket], None]) -> None:
        """Do this with each connection from now on, once a request has been read."""
        self._act = act

    def reads_slowly(self) -> None:
        """Read a kilobyte every 20 ms from now on, and send nothing."""
        self.reads_no_request()

        def act(connection: socket.socket) -> None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            while connection.recv(1024) and not self._over.wait(0.02):
                pass

        self._act = act

    def resets(self) -> None:
        """Reset the connection from now on, once the request has been read."""
        linger_for_nothing = struct.pack("ii", 1, 0)
        self._act = lambda connection: connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_nothing)

    def hangs_up(self) -> None:
        """Close the connection from now on, once the request has been read."""
        self._act = lambda connection: connection.shutdown(socket.SHUT_WR)

    def says_nothing(self) -> None:
        """Send nothing from now on."""
        self._act = lambda _: self._over.wait(30) and None

    def reads_no_request(self) -> None:
        """Act from now on as soon as a connection is there."""
        self._reads_request = False

    def speaks_before_the_request(self, data: bytes) -> None:
        """Send these bytes from now on without reading a request, as a server without TLS would."""
        self.reads_no_request()
        self.sends(data)

    def wait_until_closed(self, connections: int) -> None:
        """Return when this server has closed so many connections."""
        with self._closed:
            assert self._closed.wait_for(lambda: self._closed_connections >= connections, timeout=10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            try:
                if self._reads_request:
                    self.requests.append(_read_request(connection))
                self._act(connection)
            except OSError:
                pass
        with self._closed:
            self._closed_connections += 1
            self._closed.notify_all()


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]) and (piece := connection.recv(65536)):
        body += piece
    return head + b"\r\n\r\n" + body
