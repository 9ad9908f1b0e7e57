"""Download a file from a signed URL, completely and verified, however often the connection breaks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import math
import shutil
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastcrc import crc64

from airflow_wan.exceptions import TransferFailed, TransferInterrupted
from airflow_wan.net.file_client import FileClient, read_some
from airflow_wan.net.host_answers import content_range, oss_error_code, retry_after, whole_number
from airflow_wan.net.retrying import retrying

if TYPE_CHECKING:
    import http.client
    import ssl
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

log = logging.getLogger(__name__)

READ_BYTES = 256 * 1024
"""Maximum number of bytes that one read takes from the connection."""

MAX_FILE_BYTES = 2 * 1024**3
"""Maximum size of a file: more than any video of some seconds needs."""

MAX_ATTEMPTS_WITHOUT_PROGRESS = 5
"""Attempts in a row that bring no new byte, after which a download fails."""

MAX_ATTEMPTS = 100
"""Attempts altogether, after which a download fails."""

GRACE_S = 600.0
"""Seconds that a download may take beyond the time that its bytes take at the least speed, pauses included."""

LONGEST_PAUSE_S = 8.0
"""Longest pause between two attempts, in seconds, unless the host asks for more."""

_MAX_ERROR_BYTES = 4096
_LINK_REFUSED = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_TEMPORARY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A file that arrived completely.

    :param path: where it is on local disk.
    :param bytes: its size.
    :param sha256: its digest, hexadecimal.
    :param attempts: how many attempts the download took.
    :param checks: what was compared with the values in the host's headers: ``length``, and ``crc64`` or else ``md5``.
    """

    path: Path
    bytes: int
    sha256: str
    attempts: int
    checks: tuple[str, ...]


def download(
    fresh_url: Callable[[], str],
    path: Path,
    *,
    tls: ssl.SSLContext,
    private_allowed: bool = False,
    max_bytes: int = MAX_FILE_BYTES,
    tell: Callable[[int, int | None], None] | None = None,
    **limits: float,
) -> DownloadedFile:
    """Download a file, resume it after each break, and verify it.

    The requests carry no ``Authorization`` header: with one, the file host checks that instead of the URL's signature,
    and answers HTTP 403.

    A host that is too slow counts as a broken connection. When the download as a whole is too slow, it fails, so that
    the worker is free: Airflow's next try may find the host faster.

    :param fresh_url: returns a signed URL. It is called once, and again each time the host refuses the URL (HTTP 403,
        404, 410). Its exceptions are not caught.
    :param path: the file to write; it is incomplete when this function raises.
    :param tls: the TLS context to use.
    :param private_allowed: whether the file may be on this machine or in a private network, and there on plain http.
    :param max_bytes: maximum size of the file.
    :param tell: called with the number of bytes that have arrived and, if the host told it, of all bytes.
    :param limits: times and the least speed that the host must keep, named as in `FileClient`.
    :returns: the complete file.
    :raises TransferFailed: when the file did not arrive completely, or may not be read from its host.
    :raises OSError: when the file cannot be written.
    """
    client = FileClient(tls, private_allowed=private_allowed, **limits)
    with path.open("wb") as file:
        transfer = _Transfer(client, fresh_url, path, file, max_bytes, tell)
        attempts = retrying(TransferInterrupted, give_up=transfer.is_hopeless, longest_pause_s=LONGEST_PAUSE_S)
        try:
            content = attempts(transfer.attempt)
        except TransferInterrupted as error:
            message = f"{error} The download failed after {transfer.attempts} attempts."
            raise TransferFailed(message, link_refused=error.link_refused) from None
    done = DownloadedFile(path, content.bytes, content.sha256.hexdigest(), transfer.attempts, content.checks)
    log.info(
        "Downloaded %s bytes in %s; compared with the values in the host's headers: %s.",
        f"{done.bytes:,}",
        "one attempt" if done.attempts == 1 else f"{done.attempts} attempts",
        ", ".join(done.checks) or "nothing, because it sent none",
    )
    return done


class _Content:
    """The part of a file that has arrived, and what the host's headers say about the whole file."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        headers = response.headers
        self.bytes = 0
        self.sha256 = hashlib.sha256()
        # With a Transfer-Encoding, a Content-Length means nothing (RFC 9112, 6.3).
        self.total = None if response.chunked else whole_number(headers.get("Content-Length"))
        self.validator = _validator(response)
        self._expected_crc64 = whole_number(headers.get("x-oss-hash-crc64ecma"))
        self._crc64 = 0
        self._expected_md5 = _md5_digest(headers.get("Content-MD5")) if self._expected_crc64 is None else None
        self._md5 = hashlib.md5(usedforsecurity=False)

    @property
    def missing(self) -> int | None:
        """Number of bytes still to come, if the host told the file's size."""
        return None if self.total is None else self.total - self.bytes

    @property
    def checks(self) -> tuple[str, ...]:
        """Names of the values that the host's headers gave."""
        expected = {"length": self.total, "crc64": self._expected_crc64, "md5": self._expected_md5}
        return tuple(name for name, value in expected.items() if value is not None)

    def add(self, piece: bytes) -> None:
        """Take the next bytes into account."""
        self.bytes += len(piece)
        self.sha256.update(piece)
        if self._expected_crc64 is not None:
            self._crc64 = crc64.xz(piece, self._crc64)  # OSS's crc64ecma is the CRC-64 of xz
        if self._expected_md5 is not None:
            self._md5.update(piece)

    def mismatch(self) -> str | None:
        """Return the name of the checksum that differs from the host's, if one does."""
        if self._expected_crc64 is not None and self._crc64 != self._expected_crc64:
            return "CRC-64"
        if self._expected_md5 is not None and self._md5.digest() != self._expected_md5:
            return "MD5"
        return None

    def is_continued_by(self, response: http.client.HTTPResponse) -> bool:
        """Return whether a 206 answer is the rest of this file; its headers also give a size that was unknown."""
        part = content_range(response.headers.get("Content-Range"))
        if part is None:
            return False
        start, total = part
        if start != self.bytes or start >= total or self.total not in (None, total):
            return False
        self.total = total
        name, value = self.validator or ("", "")
        return response.headers.get(name, value) == value


@dataclass
class _Transfer:
    """One download, over all its attempts.

    :param url: the signed URL in use; None when a fresh one is needed.
    :param content: what has arrived; None when the next attempt starts from the beginning.
    :param most_bytes: the largest number of bytes that any attempt reached.
    :param received_bytes: the bytes of all attempts together.
    :param began: when it began, by the monotonic clock, in s.
    :param without_progress: attempts since that number last grew.
    """

    client: FileClient
    fresh_url: Callable[[], str]
    path: Path
    file: BinaryIO
    max_bytes: int
    tell: Callable[[int, int | None], None] | None
    url: str | None = None
    content: _Content | None = None
    most_bytes: int = 0
    received_bytes: int = 0
    began: float = field(default_factory=time.monotonic)
    attempts: int = 0
    without_progress: int = 0

    def is_hopeless(self) -> bool:
        """Return whether another attempt is no longer worthwhile."""
        took_s = time.monotonic() - self.began
        return (
            self.without_progress >= MAX_ATTEMPTS_WITHOUT_PROGRESS
            or self.attempts >= MAX_ATTEMPTS
            or self.received_bytes > 2 * self.max_bytes
            or took_s > GRACE_S + self.most_bytes / (self.client.least_speed or math.inf)
        )

    def attempt(self) -> _Content:
        """Download what is missing, or the whole file when it cannot be resumed.

        :raises TransferInterrupted: when another attempt may succeed; the message says how much has arrived.
        """
        self.attempts += 1
        self.without_progress += 1
        try:
            return self._attempt()
        except TransferInterrupted as error:
            arrived, total = (self.content.bytes, self.content.total) if self.content else (0, None)
            progress = f"{arrived:,} of {total:,} bytes" if total else f"{arrived:,} bytes"
            raise TransferInterrupted(
                f"{error} {progress} have arrived.", link_refused=error.link_refused, retry_after=error.retry_after
            ) from None

    def _attempt(self) -> _Content:
        self.url = self.url or self.fresh_url()
        headers = self._range_headers()
        with self.client.get(self.url, headers) as response:
            content = self.content = self._content_of(response, resumed="Range" in headers)
            self._check_room(content)
            self._receive(content, response)
        if not content.bytes:
            raise self._restart("The file host sent an empty file.")
        if content.missing:
            raise TransferInterrupted("The connection to the file host failed: it ended too early.")
        if (name := content.mismatch()) is not None:
            raise self._restart(f"The file does not have the {name} checksum in the headers of its host.")
        return content

    def _range_headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest of the same file, or for the whole file if it has changed.

        Without a validator, parts of two different files could be mixed up: then the whole file is asked for.
        """
        if self.content is None or not self.content.bytes or self.content.validator is None:
            return {}
        return {"Range": f"bytes={self.content.bytes}-", "If-Range": self.content.validator[1]}

    def _content_of(self, response: http.client.HTTPResponse, *, resumed: bool) -> _Content:
        """Return the content that an answer's body belongs to: a new one, or the one that it continues."""
        if response.status == HTTPStatus.OK:
            if response.headers.get_content_type() == "text/html":
                raise TransferInterrupted(
                    "The connection to the file host failed: a web page came in place of the file."
                )
            self.file.seek(0)
            self.file.truncate()
            return _Content(response)
        if resumed and response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise self._restart("The file host no longer has the rest of the file (HTTP 416).")
        if resumed and response.status == HTTPStatus.PARTIAL_CONTENT and self.content is not None:
            if self.content.is_continued_by(response):
                return self.content
            raise self._restart("The file host sent another part than the one asked for.")
        if response.status in _LINK_REFUSED:
            self.url = None
        raise _refusal(response)

    def _restart(self, message: str) -> TransferInterrupted:
        """Discard what has arrived, and return the error that says why."""
        self.content = None
        return TransferInterrupted(message)

    def _check_room(self, content: _Content) -> None:
        """Check the size of the file and the free disk space before anything is written.

        :raises TransferFailed: when the file is too large for either.
        """
        if content.missing is None:
            return
        self._check_size(content.bytes + content.missing)
        free = shutil.disk_usage(self.path.parent).free
        if content.missing > free:
            raise TransferFailed(
                f"The disk is too full for the file: {content.missing:,} bytes are still to come, and {free:,} bytes "
                f"are free in {self.path.parent}."
            )

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            raise TransferFailed(f"The file has more than the {self.max_bytes:,} bytes that a video may have.")

    def _receive(self, content: _Content, response: http.client.HTTPResponse) -> None:
        """Write the body piece by piece, so that a break loses nothing; no more is read than was announced."""
        while content.missing != 0 and (piece := read_some(response, min(READ_BYTES, content.missing or READ_BYTES))):
            self._check_size(content.bytes + len(piece))
            self.file.write(piece)
            content.add(piece)
            self.received_bytes += len(piece)
            if self.tell is not None:
                self.tell(content.bytes, content.total)
            if content.bytes > self.most_bytes:
                self.most_bytes, self.without_progress = content.bytes, 0


def _validator(response: http.client.HTTPResponse) -> tuple[str, str] | None:
    """Return name and value of the header that distinguishes this file from a later one at the same URL.

    A weak ETag does not do that.
    """
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    if etag and etag.startswith('"'):
        return "ETag", etag
    return ("Last-Modified", modified) if modified else None


def _md5_digest(header: str | None) -> bytes | None:
    """Return the digest in a ``Content-MD5`` header; None when it holds none."""
    try:
        digest = base64.b64decode(header or "", validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == hashlib.md5(usedforsecurity=False).digest_size else None


def _refusal(response: http.client.HTTPResponse) -> TransferFailed:
    """Return the error for an answer without the file; its class says whether another attempt may succeed."""
    status = response.status
    message = f"The file host answered HTTP {status}{_oss_code(response)}."
    if status in _LINK_REFUSED:
        return TransferInterrupted(message, link_refused=True)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TEMPORARY:
        # A host that asks for no pause at all gets the usual one.
        return TransferInterrupted(message, retry_after=retry_after(response.headers.get("Retry-After")) or None)
    return TransferFailed(message)


def _oss_code(response: http.client.HTTPResponse) -> str:
    """Return the error code of an Alibaba OSS answer, in brackets; empty when there is none."""
    body = b""
    try:
        while len(body) < _MAX_ERROR_BYTES and (piece := read_some(response, _MAX_ERROR_BYTES - len(body))):
            body += piece
    except TransferFailed:
        return ""
    code = oss_error_code(body)
    return f" ({code})" if code else ""
