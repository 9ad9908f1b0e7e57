"""A signed URL → a complete temporary file: plain GET, streamed, length checked."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import httpx

from airflow_wan.addresses import is_loopback

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

CHUNK_BYTES = 1024 * 1024
MAX_REDIRECTS = 3
CONNECT_TIMEOUT = 10.0
"""s until the file host must answer a connection."""
READ_TIMEOUT = 60.0
"""s without a byte until a download is given up."""


class DownloadError(Exception):
    """The file did not arrive whole. The message never holds the signed URL.

    :param link_refused: whether the host refused the URL, as it does when it expired: a fresh one may help.
    """

    def __init__(self, message: str, *, link_refused: bool = False) -> None:
        self.link_refused = link_refused
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A file that arrived whole.

    :param path: where it lies.
    :param bytes: its size.
    :param sha256: its digest, hexadecimal.
    """

    path: Path
    bytes: int
    sha256: str


class _WithoutQueries(logging.Filter):
    """Cuts the query off the URLs that httpx logs (at INFO, for each request): that is where signatures live."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(arg.copy_with(query=None) if isinstance(arg, httpx.URL) else arg for arg in record.args)
        return True


logging.getLogger("httpx").addFilter(_WithoutQueries())


def download(url: str, path: Path, *, tls: ssl.SSLContext, loopback_allowed: bool = False) -> DownloadedFile:
    """Fetch a signed URL into a new file.

    The request carries no ``Authorization``: with one, the file host takes the signature for wrong and answers 403.

    :param url: the signed URL.
    :param path: the file to write; it is left incomplete when this raises.
    :param tls: the TLS context to use.
    :param loopback_allowed: whether plain http on loopback will do, as it must for an emulator.
    :raises DownloadError: when the file did not arrive whole.
    """
    timeout = httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
    try:
        with httpx.Client(verify=tls, timeout=timeout, headers={"Accept-Encoding": "identity"}) as http:
            return _fetch(http, url, path, loopback_allowed=loopback_allowed)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The text of an httpx error may hold the URL, and with it the signature: its type says enough.
        raise DownloadError(f"The connection to the file host failed ({type(error).__name__}).") from None


def _fetch(http: httpx.Client, url: str, path: Path, *, loopback_allowed: bool) -> DownloadedFile:
    for _ in range(MAX_REDIRECTS + 1):
        _check_target(url, loopback_allowed=loopback_allowed)
        with http.stream("GET", url) as response:
            if response.has_redirect_location:
                url = _joined(url, response.headers["location"])
                continue
            return _save(response, path)
    raise DownloadError(f"The file host redirected more than {MAX_REDIRECTS} times.")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise DownloadError("The file host redirects to a malformed URL.") from None


def _check_target(url: str, *, loopback_allowed: bool) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise DownloadError("The file is offered at a malformed URL.") from None
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and loopback_allowed and is_loopback(parts.hostname):
        return
    raise DownloadError(
        f"The file is offered at a {parts.scheme or 'malformed'} URL on host {parts.hostname}; only https is followed."
    )


def _save(response: httpx.Response, path: Path) -> DownloadedFile:
    if response.status_code != httpx.codes.OK:
        raise DownloadError(
            f"The file host {response.url.host} answered HTTP {response.status_code}{_oss_code(response)}.",
            link_refused=response.status_code in (httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND, httpx.codes.GONE),
        )
    expected = _expected_length(response)
    digest = hashlib.sha256()
    written = 0
    with path.open("wb") as file:
        for chunk in response.iter_raw(CHUNK_BYTES):
            digest.update(chunk)
            written += file.write(chunk)
    if not written:
        raise DownloadError("The file host sent an empty file.")
    if expected is not None and written != expected:
        raise DownloadError(f"The file host announced {expected} bytes and sent {written}.")
    return DownloadedFile(path, written, digest.hexdigest())


def _expected_length(response: httpx.Response) -> int | None:
    length = response.headers.get("content-length", "")
    return int(length) if length.isdecimal() else None


def _oss_code(response: httpx.Response) -> str:
    """The code in OSS's XML answer (``<Code>SignatureDoesNotMatch</Code>``), the rest of which may hold the key id."""
    text: Any = response.read()[:4096].decode("utf-8", "replace")
    code = text.partition("<Code>")[2].partition("</Code>")[0].strip()
    return f" ({code})" if code.isalnum() else ""
