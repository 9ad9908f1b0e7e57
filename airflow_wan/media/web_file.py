"""Read a file on the web by Range requests, no more of it than its measurement needs, and not for long."""

from __future__ import annotations

import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO

from airflow_wan.exceptions import MediaUnreadable, TransferFailed
from airflow_wan.media.bounded import BLOCK_BYTES, MAX_BYTES, BoundedFile
from airflow_wan.net.file_client import FileClient, read_beginning
from airflow_wan.net.host_answers import content_range, strong_etag, whole_number

if TYPE_CHECKING:
    import http.client
    import ssl

_MAX_AHEAD_BYTES = 1024 * 1024
"""Maximum number of bytes that one request asks for, when a file is read from one block to the next."""

CONNECT_TIMEOUT_S = 3.0
"""Seconds within which a host must accept a connection: a worker without internet access should find that out soon."""

READ_TIMEOUT_S = 5.0
"""Seconds without a byte after which a connection counts as broken."""

MAX_SECONDS = 10.0
"""Seconds that reading one file may take altogether; a header takes a fraction of one."""


class WebFile:
    """A file behind a URL, of which no more is read than its measurement needs.

    From a host that ignores Range, the first 4 MiB are read at once, and everything that is asked for must be in them.

    :param url: an https URL, or http on loopback.
    :param tls: the TLS context to use.
    :param private_allowed: whether the file may be on this machine or in a private network.
    """

    def __init__(self, url: str, *, tls: ssl.SSLContext, private_allowed: bool) -> None:
        self._url = url
        self._client = FileClient(
            tls,
            private_allowed=private_allowed,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            read_timeout_s=READ_TIMEOUT_S,
            least_speed=None,
        )
        self._deadline = time.monotonic() + MAX_SECONDS
        self._beginning = b""
        self._latest_start, self._latest = 0, b""
        self._ignores_range = False
        self.etag: str | None = None
        """The host's identifier for this exact content, if it sent a strong one."""

    def open(self) -> BinaryIO:
        """Return the file, its beginning already fetched.

        :raises MediaUnreadable: when the host does not answer with a file.
        """
        response, self._beginning = self._get(0, BLOCK_BYTES)
        headers = response.headers
        self.etag = strong_etag(headers.get("ETag"))
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise MediaUnreadable("its host sends it compressed, although no compression was accepted")
        if _is_page(response, self._beginning):
            raise MediaUnreadable("its host answered with a web page")
        self._ignores_range = response.status == HTTPStatus.OK
        size = self._size(response)
        if size is None:
            raise MediaUnreadable("its host does not tell its size")
        self._file_size = size
        self._latest = self._beginning
        return BoundedFile(self._fetch, size).buffered()

    def _size(self, response: http.client.HTTPResponse) -> int | None:
        if not self._ignores_range:
            part = content_range(response.headers.get("Content-Range"))
            return part[1] if part else None
        announced = None if response.chunked else whole_number(response.headers.get("Content-Length"))
        if announced is None and len(self._beginning) < MAX_BYTES:
            return len(self._beginning)  # that is the whole file
        return announced

    def _fetch(self, start: int, stop: int) -> bytes:
        if self._ignores_range and start >= MAX_BYTES:
            raise MediaUnreadable(
                f"its host does not answer Range requests, and its first {MAX_BYTES} bytes are not enough"
            )
        if self._ignores_range or stop <= len(self._beginning):
            return self._beginning[start:stop]
        offset = start - self._latest_start
        if offset < 0 or offset + stop - start > len(self._latest):
            is_next = offset == len(self._latest)
            ahead = min(2 * len(self._latest), _MAX_AHEAD_BYTES) if is_next else 0
            response, content = self._get(start, min(max(stop, start + ahead), self._file_size))
            if response.status != HTTPStatus.PARTIAL_CONTENT:
                raise MediaUnreadable("its host no longer answers Range requests")
            self._latest_start, self._latest, offset = start, content, 0
        return self._latest[offset : offset + stop - start]

    def _get(self, start: int, stop: int) -> tuple[http.client.HTTPResponse, bytes]:
        """Return the answer to a Range request and its body; of a whole file, the first `MAX_BYTES`."""
        client = replace(self._client, total_s=max(0.0, self._deadline - time.monotonic()))
        try:
            with client.get(self._url, {"Range": f"bytes={start}-{stop - 1}"}) as response:
                if response.status == HTTPStatus.OK:
                    return response, read_beginning(response, MAX_BYTES)
                if response.status != HTTPStatus.PARTIAL_CONTENT:
                    raise MediaUnreadable(f"its host answered HTTP {response.status}")
                part = content_range(response.headers.get("Content-Range"))
                if part is None or part[0] != start:
                    raise MediaUnreadable("its host sent another part than the one asked for, or not the file's size")
                content = read_beginning(response, stop - start + 1)
        except TransferFailed as error:
            is_over = time.monotonic() >= self._deadline
            raise MediaUnreadable(f"its host needed more than {MAX_SECONDS:g} s" if is_over else str(error)) from None
        if len(content) > stop - start:
            raise MediaUnreadable("its host sent more than was asked for")
        return response, content


def _is_page(response: http.client.HTTPResponse, beginning: bytes) -> bool:
    """Return whether an answer is a page for people, such as a login or a proxy's refusal, and not the file."""
    content_type = response.headers.get("Content-Type", "").lower()
    return "html" in content_type or beginning.lstrip().lower().startswith((b"<!doctype html", b"<html"))
