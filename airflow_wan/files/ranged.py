"""A file behind an https URL, read piece by piece by Range requests, within small bounds of bytes and time."""

from __future__ import annotations

import contextlib
import io
import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit

import httpx

from airflow_wan import __version__

if TYPE_CHECKING:
    import ssl
    from collections.abc import Buffer, Iterator  # type: ignore[attr-defined]

LARGEST_BYTES = 4 * 1024 * 1024
"""Fetched of one file in all; headers are a few KiB, the longest estimate of an mp3's length reads 1.2 MB."""
LONGEST_S = 10.0
"""s for one file in all."""
CONNECT_TIMEOUT = 3.0
"""s until the host must answer a connection."""
BLOCK_BYTES = 64 * 1024
"""Asked for at a time: nearly every header in one request."""
MAX_REDIRECTS = 3

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"airflow-provider-wan/{__version__}"}
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-\d{1,19}|\*)/(\d{1,19})", re.ASCII)


class Unreachable(Exception):  # noqa: N818 - named for what happened
    """The file cannot be read from here, or not within the bounds. The message holds no query string."""


@contextlib.contextmanager
def open_ranged(url: str, *, tls: ssl.SSLContext) -> Iterator[BinaryIO]:
    """The file behind a URL, to be read and sought in; what it raises then is `Unreachable`.

    :param url: https, or http on loopback.
    :param tls: the TLS context to use.
    """
    with (
        httpx.Client(headers=_HEADERS, verify=tls, follow_redirects=True, max_redirects=MAX_REDIRECTS) as http,
        contextlib.closing(_RangedFile(http, url)) as raw,
    ):
        yield cast("BinaryIO", io.BufferedReader(raw, BLOCK_BYTES))


class _RangedFile(io.RawIOBase):
    """The unbuffered file: every read is a request."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        self._http = http
        self._url = url
        self._host = urlsplit(url).hostname
        self._position = 0
        self._size: int | None = None
        self._fetched = 0
        self._deadline = time.monotonic() + LONGEST_S
        # Of a host that knows no ranges: what came of its one answer, and the rest of it.
        self._head = bytearray()
        self._rest: Iterator[bytes] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: lambda: 0, io.SEEK_CUR: lambda: self._position, io.SEEK_END: self._find_size}[whence]()
        if origin + offset < 0:
            raise OSError("sought to before the begin of the file")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer).cast("B")
        if self._size is not None and self._position >= self._size:
            return 0
        try:
            block = self._read(self._position, len(target))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            # The texts of such errors may hold the URL, their types not.
            raise Unreachable(f"{self._host} gave no answer ({type(error).__name__}).") from None
        target[: len(block)] = block
        self._position += len(block)
        return len(block)

    def _find_size(self) -> int:
        """The size, told with the first answer; of a stream that tells none, found at its end."""
        position = self._position
        if self._size is None:
            self._position = 0
            self.readinto(bytearray(1))
        while self._size is None:
            self._position = len(self._head)
            self.readinto(bytearray(BLOCK_BYTES))
        self._position = position
        return self._size

    def _read(self, start: int, count: int) -> bytes:
        if self._rest is not None:
            return self._read_stream(start, count)
        with contextlib.ExitStack() as opened:
            response = opened.enter_context(self._answer(start, start + count - 1))
            told = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and told:
                self._size = int(told[2])
                return b""
            self._check(response)
            if response.status_code == HTTPStatus.PARTIAL_CONTENT:
                if not told or told[1] is None or int(told[1]) != start:
                    raise Unreachable(f"{self._host} answered with other bytes than were asked for.")
                self._size = int(told[2])
                content = bytearray()
                for chunk in self._bounded(response.iter_raw()):
                    content += chunk
                return bytes(content[:count])
            length = response.headers.get("Content-Length", "")
            self._size = int(length) if length.isascii() and length.isdigit() else None
            self._rest = self._bounded(response.iter_raw())
            self._http_answer = opened.pop_all()  # stays open as long as the file
            return self._read_stream(start, count)

    def _read_stream(self, start: int, count: int) -> bytes:
        """From a host that answers with the whole file whatever is asked: what is in front comes along."""
        while len(self._head) < start + count:
            chunk = next(self._rest or iter(()), None)
            if chunk is None:
                self._size = len(self._head)
                break
            self._head += chunk
        return bytes(self._head[start : start + count])

    @contextlib.contextmanager
    def _answer(self, first: int, last: int) -> Iterator[httpx.Response]:
        left = self._time_left()
        timeout = httpx.Timeout(left, connect=min(left, CONNECT_TIMEOUT))
        with self._http.stream("GET", self._url, headers={"Range": f"bytes={first}-{last}"}, timeout=timeout) as answer:
            yield answer

    def _check(self, response: httpx.Response) -> None:
        if response.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise Unreachable(f"{self._host} answered HTTP {response.status_code}.")
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            # Often a proxy's, in the place of the host.
            raise Unreachable(f"{self._host} answered with a web page.")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Unreachable(f"{self._host} answered with a compressed file.")

    def _bounded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._fetched += len(chunk)
            if self._fetched > LARGEST_BYTES:
                raise Unreachable(f"What was to be measured is not in the first {LARGEST_BYTES:,} bytes read.")
            self._time_left()
            yield chunk

    def _time_left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Unreachable(f"{self._host} took more than {LONGEST_S:.0f} s.")
        return left
