"""A fast file host: it sends one file from the page cache by sendfile, with the headers that OSS sends.

    python file_host.py FILE [--breaks N]

It prints its port. With breaks, it resets each of the first N connections after it has sent a twelfth of the file and
the client has received it. It ends when its standard input closes, and prints how many bytes of the file it sent.
"""

from __future__ import annotations

import argparse
import fcntl
import re
import socket
import struct
import sys
import termios
import threading
import time
from pathlib import Path

from fastcrc import crc64


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--breaks", type=int, default=0, help="how many connections to reset")
    options = parser.parse_args()
    host = FileHost(options.file, breaks=options.breaks)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=host.serve, args=(listener,), daemon=True).start()
        sys.stdin.read()
    print(host.sent)


class FileHost:
    """Answers every GET with its file, or with the rest of it."""

    def __init__(self, path: Path, *, breaks: int) -> None:
        content = path.read_bytes()
        self.path, self.size, self.breaks, self.sent = path, len(content), breaks, 0
        self.headers = f'ETag: "BENCH"\r\nx-oss-hash-crc64ecma: {crc64.xz(content)}\r\nConnection: close\r\n'

    def serve(self, listener: socket.socket) -> None:
        """Serve one connection after another."""
        while True:
            connection, _ = listener.accept()
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536)
        wanted = re.search(rb"\r\nRange: bytes=(\d+)-\r\n", request)
        start = int(wanted[1]) if wanted else 0
        status = "206 Partial Content" if wanted else "200 OK"
        part = f"Content-Range: bytes {start}-{self.size - 1}/{self.size}\r\n" if wanted else ""
        head = f"HTTP/1.1 {status}\r\nContent-Length: {self.size - start}\r\n{part}{self.headers}\r\n"
        connection.sendall(head.encode())
        breaks_off, self.breaks = self.breaks > 0, self.breaks - 1
        with self.path.open("rb") as file:
            self.sent += connection.sendfile(file, start, self.size // 12 if breaks_off else None)
        if breaks_off:
            while struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]:
                time.sleep(0.001)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


if __name__ == "__main__":
    main()
