"""The kinds of places that media come from: the web, an upload, the request itself, a local disk, an object store."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_wan.api.rules import MB
from airflow_wan.exceptions import InvalidVideoRequest
from airflow_wan.net.stores import STORE_PACKAGES
from airflow_wan.redaction import redact, shareable

if TYPE_CHECKING:
    from airflow_wan.api.media_items import MediaReference
    from airflow_wan.api.requests import VideoRequest

log = logging.getLogger(__name__)

UPLOADED_PREFIX = "oss://dashscope-instant/"
"""Start of the URLs in DashScope's temporary store; every other ``oss://`` URL is a bucket of the user's."""


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What is known of one file that a request names; fit for logs and records.

    :param role: its role in the request: ``first_frame`` and so on.
    :param url: where it is, without the signature of the URL.
    :param digest: identifies its content, as ``sha256:…`` or ``etag:…``; None when nothing does.
    :param duration_s: its length in seconds, if it has one and was measured.
    """

    role: str
    url: str
    digest: str | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class WebUrl:
    """A file that the gateway fetches from its URL."""

    url: str

    @property
    def shown(self) -> str:
        """The URL without password, query and fragment."""
        return str(shareable(self.url))


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that was uploaded to DashScope's temporary store before; only a Wan task can read it."""

    url: str

    @property
    def shown(self) -> str:
        """The URL."""
        return self.url


@dataclass(frozen=True, slots=True)
class InlineImage:
    """An image inside a data URI."""

    content: bytes = field(repr=False)
    shown: str

    def size(self) -> int:
        """Return the number of bytes."""
        return len(self.content)

    def digest(self) -> str:
        """Return the SHA-256 of the content."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    def open(self, block_bytes: int = MB) -> BinaryIO:  # noqa: ARG002 - there are no blocks in memory
        """Return the content as a file."""
        return io.BytesIO(self.content)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine."""

    path: Path

    @property
    def shown(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def name(self) -> str:
        """The file's name, without its folder."""
        return self.path.name

    def size(self) -> int:
        """Return the number of bytes.

        :raises OSError: when there is no such file.
        """
        if self.path.is_dir():
            raise IsADirectoryError
        return self.path.stat().st_size

    def digest(self) -> str:
        """Return the SHA-256 of the content."""
        with self.path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    def open(self, block_bytes: int = MB) -> BinaryIO:
        """Open the file; it is read in blocks of this size."""
        return self.path.open("rb", block_bytes)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a store that Airflow reaches.

    :param shown: its URI.
    :param fs: the store's fsspec file system.
    :param path: its path in that file system.
    """

    shown: str
    fs: Any
    path: str

    @property
    def name(self) -> str:
        """The last part of the object's key."""
        return self.path.rpartition("/")[2]

    def size(self) -> int:
        """Return the number of bytes.

        :raises OSError: when there is no such object. Each store has other errors too.
        """
        info = self.fs.info(self.path)
        if info["type"] != "file":
            raise IsADirectoryError
        return int(info["size"])

    def digest(self) -> str | None:
        """Return the object's ETag, if the store has one."""
        info = self.fs.info(self.path)
        # The first spelling is that of S3 and OSS, the second that of Google and Azure.
        etag = info.get("ETag") or info.get("etag")
        return f"etag:{str(etag).strip(chr(34))}" if etag else None

    def open(self, block_bytes: int = MB) -> BinaryIO:
        """Open the object; it is read in blocks of this size."""
        file: BinaryIO = self.fs.open(self.path, "rb", block_size=block_bytes)
        return file

    def signed_url(self, valid_for_s: float) -> str | None:
        """Return a URL that works without a key for so long; None if the store cannot sign one."""
        try:
            return str(self.fs.sign(self.path, expiration=int(valid_for_s)))
        except Exception as error:  # noqa: BLE001 - each store has its own errors, and their texts may hold the URL
            log.info("%s cannot be given a signed URL (%s)", self.shown, type(error).__name__)
            return None


ReadableFile = LocalFile | StoredObject
Source = WebUrl | UploadedFile | InlineImage | LocalFile | StoredObject


def find_sources(request: VideoRequest) -> tuple[dict[str, Source], list[str]]:
    """Return the source of each URL in a request, and a sentence for each URL that has none; nothing is opened."""
    sources: dict[str, Source] = {}
    problems: list[str] = []
    for reference in request.media:
        try:
            sources[reference.url] = _source_of(reference)
        except InvalidVideoRequest as error:
            problems += error.problems
    return sources, problems


def describe_error(error: Exception) -> str:
    """Return class and text of a store's error, for a message."""
    return redact(f"{type(error).__name__}: {error}")


def _source_of(reference: MediaReference) -> Source:
    """Return the source of one URL.

    :raises InvalidVideoRequest: when it cannot be read.
    """
    url = reference.url
    scheme = url.partition(":")[0].lower()
    if scheme == "data":
        head, _, payload = url.partition(",")
        try:
            return InlineImage(base64.b64decode(payload, validate=True), str(shareable(url)))
        except binascii.Error:
            raise InvalidVideoRequest([f"{reference.role}: {head},… is not valid base64."]) from None
    if scheme in ("http", "https"):
        return WebUrl(url)
    if url.startswith(UPLOADED_PREFIX):
        return UploadedFile(url)
    if scheme == "file":
        rest = url.partition(":")[2].removeprefix("//")
        return LocalFile(Path(unquote(rest.removeprefix("localhost"))))
    return _stored_object(reference, scheme) if "://" in url else LocalFile(Path(url).expanduser())


def _stored_object(reference: MediaReference, scheme: str) -> StoredObject:
    """Return an object with its store's file system: Airflow connections can be looked up in the main thread only."""
    try:
        path = ObjectStoragePath(reference.url)
        return StoredObject(reference.url, path.fs, path.path)
    except Exception as error:  # noqa: BLE001 - each store has its own errors
        extra = STORE_PACKAGES.get(scheme)
        hint = f" To read {scheme}:// the workers need the package {extra}." if extra else ""
        raise InvalidVideoRequest(
            [f"{reference.role}: {redact(reference.url)} cannot be opened ({describe_error(error)}).{hint}"]
        ) from None
