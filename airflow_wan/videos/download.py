"""A signed URL → a complete, verified temporary file, however often the connection breaks on the way."""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import logging
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import tenacity
from fastcrc import crc64

from airflow_wan.exceptions import TransferFailed, TransferInterrupted
from airflow_wan.net.file_client import FileClient, conversation
from airflow_wan.net.host_answers import oss_error_code, retry_after

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path
    from typing import BinaryIO

log = logging.getLogger(__name__)

SMALLEST_READ_BYTES = 32 * 1024
LARGEST_READ_BYTES = 1024 * 1024
WORTH_A_THREAD_BYTES = 128 * 1024
"""Less is digested sooner than handed over to another thread."""
LARGEST_BYTES = 2 * 1024**3
"""More than any video of seconds."""
ATTEMPTS_IN_VAIN = 5
"""Attempts in a row without a byte that was not here before, until a download is given up."""
MOST_ATTEMPTS = 100
"""Attempts altogether."""
LONGEST_PAUSE = 30.0
"""s between two attempts, unless the host asks for more."""
LONGEST_RETRY_AFTER = 120.0
"""s between two attempts, whatever the host asks for."""

_JITTER = tenacity.wait_random(0, 1)
_LINK_REFUSED = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_FOR_NOW = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A file that arrived whole.

    :param path: where it lies.
    :param bytes: its size.
    :param sha256: its digest, hexadecimal.
    :param attempts: how many it took.
    :param checks: what it was held against: ``length``, ``crc64`` and ``md5``, as far as the host told them.
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
    largest_bytes: int = LARGEST_BYTES,
) -> DownloadedFile:
    """Fetch a file, going on after a break where it broke off, and verify it.

    The requests carry no ``Authorization``: with one, the file host takes the signature for wrong and answers 403.

    :param fresh_url: returns a signed URL; called once, and again when the host refused the one before (403, 404, 410).
        What it raises passes through.
    :param path: the file to write; it is left incomplete when this raises.
    :param tls: the TLS context to use.
    :param private_allowed: whether the file may lie on this machine or in a private network, and there on plain http.
    :param largest_bytes: size beyond which a file is refused.
    :raises TransferFailed: when the file did not arrive whole, or may not come from where it is.
    :raises OSError: when it cannot be written.
    """
    with path.open("wb") as file, ThreadPoolExecutor(2, "wan-digest") as beside:
        client = FileClient(tls, private_allowed=private_allowed)
        transfer = _Transfer(client, fresh_url, path, file, beside, largest_bytes)
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransferInterrupted),
            stop=lambda _: transfer.is_hopeless,
            wait=transfer.pause,
            before_sleep=transfer.report,
            reraise=True,
        )
        try:
            content = attempts(transfer.attempt)
        except TransferInterrupted as error:
            sentence = f"{error} {transfer.progress}; given up after {transfer.attempts} attempts."
            raise TransferFailed(sentence, link_refused=error.link_refused) from None
    done = DownloadedFile(path, content.bytes, content.sha256.hexdigest(), transfer.attempts, content.checks)
    log.info(
        "Downloaded %s bytes in %s; checked against the host's: %s.",
        f"{done.bytes:,}",
        "one attempt" if done.attempts == 1 else f"{done.attempts} attempts",
        ", ".join(done.checks) or "nothing, as it told nothing",
    )
    return done


# --------------------------------------------------------------------------------------------------------------------
# One file, over as many attempts as it takes


class _Content:
    """What has arrived of one file, and what its host said of the whole."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        headers = response.headers
        self.bytes = 0
        self.sha256 = hashlib.sha256()
        # With a Transfer-Encoding, a Content-Length means nothing (RFC 9112, 6.3).
        self.total = None if response.chunked else _whole_number(headers.get("Content-Length"))
        self.told_crc64 = _whole_number(headers.get("x-oss-hash-crc64ecma"))
        self.told_md5 = _md5_of(headers.get("Content-MD5"))
        self.validator = _validator(response)
        self._crc64 = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if self.told_md5 else None

    @property
    def left(self) -> int | None:
        """Bytes still to come, if their number was told."""
        return None if self.total is None else self.total - self.bytes

    @property
    def digests(self) -> list[Callable[[bytes], None]]:
        """What takes the next bytes into the digests; each may run in a thread of its own."""
        return [self._update] if self._md5 is None else [self._update, self._md5.update]

    def _update(self, piece: bytes) -> None:
        self.sha256.update(piece)
        if self.told_crc64 is not None:
            self._crc64 = crc64.xz(piece, self._crc64)  # OSS's crc64ecma is the one that xz uses

    @property
    def checks(self) -> tuple[str, ...]:
        """What the host told and the file was held against."""
        told = {"length": self.total, "crc64": self.told_crc64, "md5": self.told_md5}
        return tuple(name for name, value in told.items() if value is not None)

    def mismatch(self) -> str | None:
        """The checksum that is another than the host's, if one is."""
        if self.told_crc64 is not None and self._crc64 != self.told_crc64:
            return "CRC-64"
        if self._md5 is not None and self._md5.digest() != self.told_md5:
            return "MD5"
        return None

    def goes_on_with(self, response: http.client.HTTPResponse) -> bool:
        """Whether a 206 answer is the rest of this very file; it then tells the size of a file that told none."""
        told = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if told is None:
            return False
        start, total = int(told[1]), int(told[2])
        if start != self.bytes or start >= total or self.total not in (None, total):
            return False
        name, value = self.validator or ("", "")
        self.total = total
        return response.headers.get(name, value) == value


@dataclass
class _Transfer:
    """One file on its way, and how the attempts to get it went.

    :param beside: makes the digests of large pieces.
    :param url: the signed URL in use; None when a fresh one is needed.
    :param furthest: the most bytes that were ever here.
    :param in_vain: attempts since then.
    """

    client: FileClient
    fresh_url: Callable[[], str]
    path: Path
    file: BinaryIO
    beside: ThreadPoolExecutor
    largest_bytes: int
    url: str | None = None
    content: _Content | None = None
    furthest: int = 0
    attempts: int = 0
    in_vain: int = 0

    @property
    def progress(self) -> str:
        """How much is here, in words."""
        here, total = (self.content.bytes, self.content.total) if self.content else (0, None)
        return f"{here:,} of {total:,} bytes are here" if total else f"{here:,} bytes are here"

    @property
    def is_hopeless(self) -> bool:
        """Whether another attempt is no longer worth it."""
        return self.in_vain >= ATTEMPTS_IN_VAIN or self.attempts >= MOST_ATTEMPTS

    def pause(self, state: tenacity.RetryCallState) -> float:
        """S until the next attempt: longer each time nothing came, and no shorter than the host asked for."""
        asked = getattr(state.outcome and state.outcome.exception(), "retry_after", None) or 0.0
        pause = max(min(0.5 * 2.0**self.in_vain, LONGEST_PAUSE), min(asked, LONGEST_RETRY_AFTER))
        return pause + _JITTER(state)

    def report(self, state: tenacity.RetryCallState) -> None:
        """Say why there will be another attempt."""
        error = state.outcome and state.outcome.exception()
        seconds = state.next_action.sleep if state.next_action else 0.0
        log.warning("%s %s; attempt %s in %.1f s.", error, self.progress, self.attempts + 1, seconds)

    def attempt(self) -> _Content:
        """Get what is missing, or all of it when what is here cannot be gone on with."""
        self.attempts += 1
        self.in_vain += 1
        self.url = self.url or self.fresh_url()
        headers = self._condition()
        with self.client.answer(self.url, headers) as response:
            content = self.content = self._begun(response, resumed="Range" in headers)
            self._check_room(content)
            self._receive(content, response)
        if not content.bytes:
            raise self._start_over("The file host sent an empty file.")
        if content.left:
            raise TransferInterrupted("The connection to the file host failed: it ended too early.")
        if (name := content.mismatch()) is not None:
            raise self._start_over(f"The file does not have the {name} checksum that its host told.")
        return content

    def _condition(self) -> dict[str, str]:
        """The headers that ask for the rest of the same file, or for all of it if it is another by now.

        Without a validator, two files could be mixed up: then it is always all of it.
        """
        if self.content is None or not self.content.bytes or self.content.validator is None:
            return {}
        return {"Range": f"bytes={self.content.bytes}-", "If-Range": self.content.validator[1]}

    def _begun(self, response: http.client.HTTPResponse, *, resumed: bool) -> _Content:
        """The content that an answer's body belongs to."""
        if response.status == HTTPStatus.OK:
            if response.headers.get_content_type() == "text/html":
                raise TransferInterrupted(
                    "The connection to the file host failed: a web page came in place of the file."
                )
            self.file.seek(0)
            self.file.truncate()
            return _Content(response)
        if resumed and response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise self._start_over("The file host no longer has the rest of the file (HTTP 416).")
        if resumed and response.status == HTTPStatus.PARTIAL_CONTENT and self.content is not None:
            if self.content.goes_on_with(response):
                return self.content
            raise self._start_over("The file host sent another part than the one asked for.")
        if response.status in _LINK_REFUSED:
            self.url = None
        raise _refusal(response)

    def _start_over(self, sentence: str) -> TransferInterrupted:
        """Forget what is here; return the error that says why."""
        self.content = None
        return TransferInterrupted(sentence)

    def _check_room(self, content: _Content) -> None:
        missing = content.left
        if missing is None:
            return
        self._check_size(content.bytes + missing)
        free = shutil.disk_usage(self.path.parent).free
        if missing > free:
            raise TransferFailed(
                f"The disk is too full for the file: {missing:,} bytes are still to come, and {free:,} bytes are free "
                f"in {self.path.parent}."
            )

    def _check_size(self, size: int) -> None:
        if size > self.largest_bytes:
            raise TransferFailed(f"The file has more than the {self.largest_bytes:,} bytes that a video may have.")

    def _receive(self, content: _Content, response: http.client.HTTPResponse) -> None:
        """Write the body; large pieces are digested meanwhile, as hashlib lets other threads run."""
        pending: list[Future[None]] = []
        try:
            for piece in _pieces(response, content):
                self._check_size(content.bytes + len(piece))
                _wait_for(pending)
                pending = self._digest(content, piece)
                self.file.write(piece)
                content.bytes += len(piece)
                if content.bytes > self.furthest:
                    self.furthest, self.in_vain = content.bytes, 0
        finally:
            _wait_for(pending)  # after a break too, for the next attempt goes on with the same digests

    def _digest(self, content: _Content, piece: bytes) -> list[Future[None]]:
        if len(piece) >= WORTH_A_THREAD_BYTES:
            return [self.beside.submit(update, piece) for update in content.digests]
        for update in content.digests:
            update(piece)
        return []


def _wait_for(pending: list[Future[None]]) -> None:
    for digested in pending:
        digested.result()


def _pieces(response: http.client.HTTPResponse, content: _Content) -> Iterator[bytes]:
    """The body as it comes, so that a break loses nothing, and no more of it than was announced."""
    with conversation():
        room = SMALLEST_READ_BYTES
        while content.left != 0 and (piece := response.read1(min(room, content.left or room))):
            yield piece
            room = min(max(SMALLEST_READ_BYTES, 2 * len(piece)), LARGEST_READ_BYTES)


def _validator(response: http.client.HTTPResponse) -> tuple[str, str] | None:
    """The header that tells this file from a later one at its URL. A weak ETag does not."""
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    if etag and etag.startswith('"'):
        return "ETag", etag
    return ("Last-Modified", modified) if modified else None


def _whole_number(text: str | None) -> int | None:
    """A header's number; None for anything else, and for what no file's size or CRC-64 has the digits of."""
    return int(text) if text and re.fullmatch(r"\d{1,20}", text, re.ASCII) else None


def _md5_of(text: str | None) -> bytes | None:
    try:
        digest = base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == hashlib.md5(usedforsecurity=False).digest_size else None


def _refusal(response: http.client.HTTPResponse) -> TransferFailed:
    """What an answer without the file means for the next attempt."""
    status = response.status
    sentence = f"The file host answered HTTP {status}{_oss_code(response)}."
    if status in _LINK_REFUSED:
        return TransferInterrupted(sentence, link_refused=True)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _FOR_NOW:
        return TransferInterrupted(sentence, retry_after=retry_after(response.headers.get("Retry-After")))
    return TransferFailed(sentence)


def _oss_code(response: http.client.HTTPResponse) -> str:
    """The store's own word for a refusal, for a sentence."""
    try:
        with conversation():
            code = oss_error_code(response.read(4096))
    except TransferFailed:
        return ""
    return f" ({code})" if code else ""
