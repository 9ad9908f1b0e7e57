"""A file read piece by piece where it lies, within small bounds of bytes and time: for looking at its header."""

from __future__ import annotations

import io
import logging
import time
from typing import TYPE_CHECKING, BinaryIO, Self

import httpx

from airflow_wan.exceptions import MediaUnreadable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from types import TracebackType

BLOCK_BYTES = 64 * 1024
"""Fetched at a time: the header of most images, and all that is needed of most sound files."""

MOST_BYTES = 4 * 1024 * 1024
"""Fetched of one file at most: room for a photograph's embedded profiles and thumbnails."""

MOST_SECONDS = 10.0
"""s that one file may take; a header takes a fraction of one."""

CONNECT_TIMEOUT = 3.0
"""s until a host must answer a connection. A worker without a way out should learn it soon."""

READ_TIMEOUT = 5.0
"""s without a byte until an answer is given up."""

MAX_REDIRECTS = 3


class _WithoutQueries(logging.Filter):
    """Cuts the query off the URLs that httpx logs (at INFO, for each request): that is where signatures live."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything pass, without queries."""
        if isinstance(record.args, tuple):
            record.args = tuple(arg.copy_with(query=None) if isinstance(arg, httpx.URL) else arg for arg in record.args)
        return True


logging.getLogger("httpx").addFilter(_WithoutQueries())


class RangedFile(io.RawIOBase):
    """A read-only, seekable file over a function that fetches a range of its bytes.

    As any raw file, it may read less than it was asked for; `buffered` gives one that does not.

    :param fetch: gives the bytes from an offset up to another one.
    :param size: the file's size, bytes.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._at = 0
        self._blocks: dict[int, bytes] = {}

    def buffered(self) -> BinaryIO:
        """The same, for readers of headers."""
        return io.BufferedReader(self, BLOCK_BYTES)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go somewhere; nothing is fetched."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("There is nothing before the beginning of a file.")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # any writable buffer, as io calls it
        """Read up to the end of the block.

        :raises MediaUnreadable: when the bytes cannot be had, or too many were asked for.
        """
        if self._at >= self._size or not buffer:
            return 0
        number, offset = divmod(self._at, BLOCK_BYTES)
        piece = self._block(number)[offset : offset + len(buffer)]
        if not piece:
            raise MediaUnreadable(f"it ends before the {self._size} bytes that it should have")
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            if len(self._blocks) >= MOST_BYTES // BLOCK_BYTES:
                raise MediaUnreadable(f"its header is not within {MOST_BYTES} bytes")
            start = number * BLOCK_BYTES
            self._blocks[number] = self._fetch(start, min(start + BLOCK_BYTES, self._size))
        return self._blocks[number]


class WebFile:
    """A file behind a URL, read by Range requests; use it as a context manager.

    A host that ignores Range sends the file from its beginning: of that, too, no more is read than is asked for. No
    header but Range tells the host who asks: the gateway will come without any, too.

    :param url: an https URL, or http on loopback.
    :param tls: the TLS context to use.
    """

    def __init__(self, url: str, *, tls: ssl.SSLContext) -> None:
        self._url = url
        self._until = time.monotonic() + MOST_SECONDS
        self._http = httpx.Client(
            verify=tls,
            timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            headers={"Accept-Encoding": "identity"},
            follow_redirects=True,
            max_redirects=MAX_REDIRECTS,
        )
        self._rest: Iterator[bytes] | None = None
        self._begin = bytearray()
        self.etag: str | None = None
        """The host's own mark of this very content, if it gave a strong one."""

    def __enter__(self) -> Self:
        """Open nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._http.close()

    def open(self) -> BinaryIO:
        """The file, its first block already fetched.

        :raises MediaUnreadable: when the host does not answer with a file.
        """
        response = self._get(0, BLOCK_BYTES)
        etag = response.headers.get("etag", "")
        self.etag = etag.strip('"') if etag.startswith('"') else None
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise MediaUnreadable("the host sends it compressed, unasked")
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            size = response.headers.get("content-range", "").rpartition("/")[2]
            self._begin += self._whole(response)
        else:
            size = response.headers.get("content-length", "")
            self._rest = response.iter_raw()
            if not size.isdecimal():
                size = str(self._size_by_reading())
        if not size.isdecimal():
            raise MediaUnreadable("the host does not tell its size")
        file = RangedFile(self._fetch, int(size)).buffered()
        if _is_page(response, file.read(512)):
            raise MediaUnreadable("the answer is a web page")
        file.seek(0)
        return file

    def _fetch(self, start: int, stop: int) -> bytes:
        if self._rest is not None:
            self._pull(stop)
        if stop <= len(self._begin) or self._rest is not None:
            return bytes(self._begin[start:stop])
        response = self._get(start, stop)
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            response.close()
            raise MediaUnreadable("the host no longer answers with parts of it")
        return self._whole(response)

    def _get(self, start: int, stop: int) -> httpx.Response:
        """The answer to a Range request, its body not yet read."""
        self._check_time()
        try:
            request = self._http.build_request("GET", self._url, headers={"Range": f"bytes={start}-{stop - 1}"})
            response = self._http.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The text of an httpx error may hold the URL, and with it a signature: its type says enough.
            raise MediaUnreadable(f"no answer from its host ({type(error).__name__})") from None
        if response.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            response.close()
            raise MediaUnreadable(f"its host answered HTTP {response.status_code}")
        part = response.headers.get("content-range", "")
        if response.status_code == httpx.codes.PARTIAL_CONTENT and not part.startswith(f"bytes {start}-"):
            response.close()
            raise MediaUnreadable("the host answered with other bytes than were asked for")
        return response

    def _whole(self, response: httpx.Response) -> bytes:
        """The body of a part, which is no longer than what was asked for."""
        content = bytearray()
        for piece in self._timed(response.iter_raw()):
            content += piece
            if len(content) > BLOCK_BYTES:
                response.close()
                raise MediaUnreadable("the host sends more than was asked for")
        return bytes(content)

    def _pull(self, stop: int) -> None:
        """Read on until `stop` bytes have come, or the file has ended."""
        if stop > MOST_BYTES:
            raise MediaUnreadable(f"the host does not answer with parts of it, and {MOST_BYTES} bytes are not enough")
        if self._rest is not None and len(self._begin) < stop:
            for piece in self._timed(self._rest):
                self._begin += piece
                if len(self._begin) >= stop:
                    return

    def _size_by_reading(self) -> int:
        self._pull(MOST_BYTES)
        if len(self._begin) >= MOST_BYTES:
            raise MediaUnreadable("the host does not tell its size")
        return len(self._begin)

    def _timed(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for piece in pieces:
                yield piece
                self._check_time()
        except httpx.HTTPError as error:
            raise MediaUnreadable(f"its host broke off ({type(error).__name__})") from None

    def _check_time(self) -> None:
        if time.monotonic() > self._until:
            raise MediaUnreadable(f"its host was slower than {MOST_SECONDS:g} s")


def _is_page(response: httpx.Response, begin: bytes) -> bool:
    """Whether the answer is a page for people: a login, a proxy's refusal, and not the file that the gateway gets."""
    kind = response.headers.get("content-type", "").lower()
    return "html" in kind or begin.lstrip().lower().startswith((b"<!doctype html", b"<html"))
