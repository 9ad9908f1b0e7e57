"""The kinds of places that media come from: the web, an upload, the request itself, a local disk, an object store."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import logging
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, ObjectStoragePath

from airflow_wan.api.arguments import show
from airflow_wan.api.rules import MB
from airflow_wan.exceptions import InvalidVideoRequest, NotMediaError
from airflow_wan.net.stores import what_to_install
from airflow_wan.redaction import redact, shareable

if TYPE_CHECKING:
    from airflow_wan.api.media_items import MediaReference
    from airflow_wan.api.requests import VideoRequest

log = logging.getLogger(__name__)

UPLOADED_PREFIX = "oss://dashscope-instant/"
"""Start of the URLs in DashScope's temporary store; every other ``oss://`` URL is a bucket of the user's."""

MAX_SENT_BYTES = 1024 * MB
"""Maximum size of a file that is sent (DashScope's documented limit of an upload)."""


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What is known of one file that a request names; fit for logs and records.

    :param role: its role in the request: ``first_frame`` and so on.
    :param url: where it is, without the signature of the URL.
    :param digest: identifies its content, as ``sha256:…`` or ``etag:…``; None when nothing does.
    :param duration_s: length in seconds of what is sent, if it has one and was measured.
    :param adapted_digest: identifies the content of the copy that is sent instead, made to fit the gateway's limits;
        None when the file itself is sent.
    """

    role: str
    url: str
    digest: str | None = None
    duration_s: float | None = None
    adapted_digest: str | None = None


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
class _FileInMemory:
    """A file of which this process holds the content.

    :param content: the content.
    :param shown: where it comes from, fit for logs.
    :param name: the name of the file; empty if it has none.
    """

    content: bytes = field(repr=False)
    shown: str
    name: str = ""

    def size(self) -> int:
        """Return the number of bytes."""
        return len(self.content)

    def digest(self) -> str:
        """Return the SHA-256 of the content."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    def open(self, block_bytes: int = MB) -> BinaryIO:  # noqa: ARG002 - there are no blocks in memory
        """Return the content as a file."""
        return io.BytesIO(self.content)


class InlineImage(_FileInMemory):
    """An image inside a data URI."""

    __slots__ = ()


class AdaptedFile(_FileInMemory):
    """A copy of a file that was made to fit the gateway's limits, and is sent instead; `shown` is the file itself."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine."""

    path: Path

    @property
    def shown(self) -> str:
        """The path, with a question mark for each character that cannot be printed."""
        return "".join(character if character.isprintable() else "?" for character in str(self.path))

    @property
    def name(self) -> str:
        """The file's name, without its folder."""
        return self.path.name

    def size(self) -> int:
        """Return the number of bytes; for what is raised, see `open`."""
        with self.open() as file:
            return size_of(file)

    def digest(self) -> str | None:
        """Return the SHA-256 of the content; None if it is larger than any file that can be sent."""
        with self.open() as file:
            if size_of(file) > MAX_SENT_BYTES:
                return None
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    def open(self, block_bytes: int = MB) -> io.BufferedReader:
        """Open the file; it is read in blocks of this size. Nothing but a regular file is opened, and nothing waits.

        :raises OSError: when there is no such file, or it may not be read.
        :raises NotMediaError: when it is a device, a pipe or a socket.
        """
        _require_regular(self.path.stat())  # merely to open a device may already do something
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(os.close, descriptor)
            _require_regular(os.fstat(descriptor))  # the path may lead somewhere else by now
            file = cast("io.BufferedReader", os.fdopen(descriptor, "rb", block_bytes))
            on_failure.pop_all()
        return file


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
        """Open the object; it is read in blocks of this size. For what is raised, see `size`."""
        self.size()  # some stores open a folder as if it were an empty object
        file: BinaryIO = self.fs.open(self.path, "rb", block_size=block_bytes)
        return file

    def signed_url(self, valid_for_s: float) -> str | None:
        """Return a URL that works without a key for so long; None if the store cannot sign one."""
        try:
            return str(self.fs.sign(self.path, expiration=int(valid_for_s)))
        except Exception as error:  # noqa: BLE001 - each store has its own errors, and their texts may hold the URL
            log.info("%s cannot be given a signed URL (%s)", self.shown, type(error).__name__)
            return None


ReadableFile = InlineImage | AdaptedFile | LocalFile | StoredObject
Source = WebUrl | UploadedFile | ReadableFile


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


def size_of(file: BinaryIO) -> int:
    """Return the size of an open file in bytes, and go to its beginning."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


def why_unusable(source: Source, error: Exception) -> str | None:
    """Return why a source can never be used, as a sentence without its full stop; None when the error may pass."""
    where = " on this worker" if isinstance(source, LocalFile) else " with this connection"
    if isinstance(error, FileNotFoundError):
        return f"there is no file {source.shown}{where}"
    if isinstance(error, IsADirectoryError):
        return f"{source.shown} is a folder"
    if isinstance(error, PermissionError):
        return f"{source.shown} may not be read{where}"
    return f"{source.shown} is not {error}" if isinstance(error, NotMediaError) else None


def describe_error(error: Exception) -> str:
    """Return class and text of a store's error, for a message."""
    return redact(f"{type(error).__name__}: {error}")


def _require_regular(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError
    if not stat.S_ISREG(found.st_mode):
        raise NotMediaError("a regular file (it is a device, a pipe or a socket)")


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
        except ValueError:
            raise InvalidVideoRequest([f"{reference.role}: {head},… is not valid base64."]) from None
    if scheme in ("http", "https"):
        return WebUrl(url)
    if url.startswith(UPLOADED_PREFIX):
        return UploadedFile(url)
    if scheme == "file":
        path = Path(unquote(url.partition(":")[2].removeprefix("//").removeprefix("localhost")))
        if not path.is_absolute():
            raise InvalidVideoRequest([f"{reference.role}: {show(url)} names no absolute path; write file:///… ."])
        return _local_file(path, reference)
    if "://" in url:
        return _stored_object(reference, scheme)
    try:
        return _local_file(Path(url).expanduser(), reference)
    except RuntimeError:
        raise InvalidVideoRequest([f"{reference.role}: the worker has no home folder for {url}."]) from None


def _local_file(path: Path, reference: MediaReference) -> LocalFile:
    if "\0" in str(path):  # no file system has such a name
        raise InvalidVideoRequest([f"{reference.role}: {show(reference.url)} has a NUL character in it."])
    return LocalFile(path)


def _stored_object(reference: MediaReference, scheme: str) -> StoredObject:
    """Return an object with its store's file system: Airflow connections can be looked up in the main thread only."""
    try:
        path = ObjectStoragePath(reference.url)
        _require_connection(urlsplit(reference.url).netloc.rpartition("@")[0])
        return StoredObject(reference.url, path.fs, path.path)
    except AirflowNotFoundException:
        raise InvalidVideoRequest(
            [f"{reference.role}: no such connection: {redact(reference.url)} names one that Airflow does not have."]
        ) from None
    except Exception as error:  # noqa: BLE001 - each store has its own errors
        problem = f"cannot be opened ({describe_error(error)}).{what_to_install(scheme)}"
        raise InvalidVideoRequest([f"{reference.role}: {redact(reference.url)} {problem}"]) from None


def _require_connection(conn_id: str) -> None:
    """Raise an error if a URI names a connection that is not defined: some providers would go on without one.

    A default connection may be undefined; the machine's own credentials then count.

    :raises AirflowNotFoundException: when it is not defined.
    """
    if conn_id and not conn_id.endswith("_default"):
        BaseHook.get_connection(conn_id)
