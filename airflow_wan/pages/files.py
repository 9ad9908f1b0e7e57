"""Which files the pages may serve, and serving them.

A path comes from an XCom, and anyone who may edit XComs can have written it. So a file is served only if it

- lies, with all links followed, under ``[wan] output_base`` or one of ``[wan] preview_bases``,
- is the very file that the task has left word of: it has the digest that stands beside the path, and
- begins like a video, picture or sound.

Who cannot read a file does not know its digest, so nobody gets to see a file by writing its path into an XCom. And a
path at which a later run has put another video shows that video in the later run only.

Nothing is fetched from the web, and no text of a store or of the file system is shown: a problem is one of a few words.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import stat
import sys
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_wan import config
from airflow_wan.redaction import redact_beginning
from airflow_wan.videos.address import is_object, read_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

Problem = Literal["elsewhere", "not_allowed", "not_found", "not_reachable", "replaced", "unknown_type"]
"""Why a file cannot be shown: at a web address; outside the bases; not there; in a store that cannot be read; another
file by now, as far as it can be told; or of a type or size that is not shown."""

PIECE_BYTES = 1024 * 1024
"""A file is read and sent in pieces of this size. Each is one request to a store."""

MAX_HASHED_BYTES = 2 * 1024**3
"""A larger file is not shown: a video has some MB, and the whole file is read once to compare its digest."""

STORE_TIMEOUT_S = 10.0
"""How long a request waits for a store before the page says that it cannot be reached."""

_STORES = ThreadPoolExecutor(8, thread_name_prefix="wan-pages-store")
"""Stores are asked in threads of their own, so that one that does not answer never holds the API server's threads."""

_KEPT_DIGESTS = 4096


class NotShown(Exception):  # noqa: N818 - named for what happened
    """The file cannot be shown.

    :param problem: why.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem: Problem = problem


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that a task has left word of.

    :param path: its path or URI, not trusted.
    :param digest: ``sha256:…`` or, for a medium in a store, ``etag:…``; None if the task knows none.
    """

    path: str
    digest: str | None


class _Opened(Protocol):
    """A file that is open for reading."""

    size: int
    version: str

    def read(self, start: int, length: int) -> bytes:
        """Return up to so many bytes from there on."""

    def close(self) -> None:
        """Close it."""


@dataclass(slots=True)
class ServedFile:
    """A file that may be served. Close it.

    :param media_type: its type, by its first bytes.
    :param etag: changes whenever the file does.
    """

    opened: _Opened
    media_type: str
    etag: str

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.opened.size

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to before `end`, and close the file.

        :raises OSError: when the file ends too early; the browser then sees a broken transfer.
        """
        with closing(self.opened):
            while start < end:
                piece = _read(self.opened, start, min(PIECE_BYTES, end - start))
                if not piece:
                    raise OSError("The file has become shorter while it was read.")
                start += len(piece)
                yield piece


def open_file(wanted: Wanted) -> ServedFile:
    """Open a file to serve it.

    :raises NotShown: when it may not or cannot be served.
    """
    opened = _open(wanted.path)
    try:
        media_type = _checked_type(opened, wanted)
    except BaseException:
        opened.close()
        raise
    return ServedFile(opened, media_type, f'"{hashlib.sha256(opened.version.encode()).hexdigest()[:32]}"')


def _checked_type(opened: _Opened, wanted: Wanted) -> str:
    """Return the media type of a file that may be served.

    :raises NotShown: when it is no medium, or not the file that is wanted.
    """
    media_type = type_of(_read(opened, 0, 16))
    if media_type is None:
        raise NotShown("unknown_type")
    if not _has_digest(opened, wanted):
        raise NotShown("replaced")
    return media_type


def why_not_shown(wanted: Wanted) -> Problem | None:
    """Return why a file cannot be shown; None if it can. Nothing is asked of a store: see `problem_of`."""
    try:
        _allowed(wanted.path)
    except NotShown as error:
        return error.problem
    return None if wanted.digest else "replaced"


def problem_of(wanted: Wanted) -> Problem | None:
    """Return why a file cannot be shown, after a look at it; None if it can."""
    try:
        open_file(wanted).opened.close()
    except NotShown as error:
        return error.problem
    return None


# --------------------------------------------------------------------------------------------------------------------
# Where files may be


@dataclass(frozen=True, slots=True)
class _Allowed:
    """A checked address, and the bases that it may be under."""

    address: str
    bases: tuple[str, ...]


def _allowed(path: str) -> _Allowed:
    """Return a path in its one spelling, if it may lie under a base.

    :raises NotShown: when it does not.
    """
    if path.lower().startswith(("http:", "https:", "data:")):
        raise NotShown("elsewhere")
    try:
        address = read_address(path)
    except ValueError:
        raise NotShown("not_allowed") from None
    in_store = is_object(address)
    if not in_store and not address.startswith("/"):
        raise NotShown("not_allowed")
    bases = tuple(base for base in _bases() if is_object(base) == in_store)
    if in_store and not any(address.startswith(f"{base}/") for base in bases):
        raise NotShown("not_allowed")
    if not in_store and not _is_under(os.path.realpath(address), bases):
        raise NotShown("not_allowed")
    return _Allowed(address, bases)


def _bases() -> Iterator[str]:
    """Yield each base in its one spelling, without a slash at its end."""
    for base in filter(str.strip, (config.output_base(), *config.preview_bases())):
        try:
            address = read_address(f"{os.path.expanduser(base).rstrip('/') or '/'}/x").removesuffix("/x")  # noqa: PTH111
        except ValueError as problem:
            log.warning("[wan] preview_bases: %s %s.", redact_beginning(base, 200), problem)
            continue
        yield address if is_object(address) else os.path.realpath(address)


def _is_under(real_path: str, bases: tuple[str, ...]) -> bool:
    return any(real_path.startswith(f"{base.rstrip('/')}/") for base in bases)


# --------------------------------------------------------------------------------------------------------------------
# Opening


@dataclass(slots=True)
class _LocalFile:
    descriptor: int
    size: int
    version: str

    def read(self, start: int, length: int) -> bytes:
        return os.pread(self.descriptor, length, start)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@dataclass(slots=True)
class _StoredFile:
    file: Any
    size: int
    version: str
    etag: str | None
    _lock: Lock = field(default_factory=Lock)

    def read(self, start: int, length: int) -> bytes:
        with self._lock:
            self.file.seek(start)
            data: bytes = self.file.read(length)
            return data

    def close(self) -> None:
        self.file.close()


def _open(path: str) -> _Opened:
    allowed = _allowed(path)
    if not is_object(allowed.address):
        return _open_local(allowed)
    stored: _StoredFile = _ask_store(allowed.address, lambda: _open_stored(allowed.address))
    return stored


def _open_local(allowed: _Allowed) -> _LocalFile:
    """Open a local file, and check the file that was opened: between a look and the opening, a link can change."""
    try:
        # A pipe or a device must not hold this thread, and is refused below.
        descriptor = os.open(
            os.path.realpath(allowed.address), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        )
    except OSError:
        raise NotShown("not_found") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or not _is_under(_path_of(descriptor), allowed.bases):
        os.close(descriptor)
        raise NotShown("not_allowed")
    version = f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"
    return _LocalFile(descriptor, found.st_size, version)


def _path_of(descriptor: int) -> str:
    """Return where an open file is, without links."""
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - as text


def _open_stored(address: str) -> _StoredFile:
    remote = ObjectStoragePath(address)
    info = remote.fs.info(remote.path)
    if info.get("type") == "directory":
        raise FileNotFoundError(address)
    etag = info.get("ETag") or info.get("etag")
    changed = etag or info.get("LastModified") or info.get("last_modified") or info.get("updated")
    file = remote.fs.open(remote.path, "rb", block_size=PIECE_BYTES, cache_type="none")
    return _StoredFile(
        file, int(info["size"]), f"{address}:{info['size']}:{changed}", str(etag).strip('"') if etag else None
    )


def _ask_store(address: str, ask: Callable[[], Any]) -> Any:
    """Ask a store, with a limit of time.

    :raises NotShown: when the file is not there, or the store gives no answer that can be used.
    """
    try:
        return _STORES.submit(ask).result(STORE_TIMEOUT_S)
    except FileNotFoundError:
        raise NotShown("not_found") from None
    except NotShown:
        raise
    except Exception as error:  # noqa: BLE001 - each store has errors of its own, and none of them is for the browser
        log.warning("%s cannot be read: %s: %s", address, type(error).__name__, redact_beginning(str(error), 500))
        raise NotShown("not_reachable") from None


def _read(opened: _Opened, start: int, length: int) -> bytes:
    """Return up to so many bytes of a file.

    :raises NotShown: when it can no longer be read.
    """
    if isinstance(opened, _StoredFile):
        data: bytes = _ask_store(opened.version, lambda: opened.read(start, length))
        return data
    try:
        return opened.read(start, length)
    except OSError:
        raise NotShown("not_found") from None


# --------------------------------------------------------------------------------------------------------------------
# What a file is


class _Digests:
    """The digests of files by their version, so that each file is read once in this process."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def of(self, opened: _Opened) -> str:
        """Return the file's sha256, hexadecimal."""
        with self._lock:
            if opened.version in self._known:
                self._known.move_to_end(opened.version)
                return self._known[opened.version]
        digest, at = hashlib.sha256(), 0
        while at < opened.size:
            piece = _read(opened, at, min(PIECE_BYTES, opened.size - at))
            if not piece:
                raise NotShown("not_found")
            digest.update(piece)
            at += len(piece)
        with self._lock:
            self._known[opened.version] = digest.hexdigest()
            if len(self._known) > _KEPT_DIGESTS:
                self._known.popitem(last=False)
        return digest.hexdigest()


_digests = _Digests()


def _has_digest(opened: _Opened, wanted: Wanted) -> bool:
    kind, _, value = (wanted.digest or "").partition(":")
    if kind == "etag" and isinstance(opened, _StoredFile):
        return opened.etag is not None and opened.etag == value.strip('"')
    if kind != "sha256":
        return False
    if opened.size > MAX_HASHED_BYTES:
        raise NotShown("unknown_type")
    return _digests.of(opened) == value


def type_of(head: bytes) -> str | None:
    """Return the media type of a file by its first 16 bytes; None if it is nothing that the pages show."""
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if head.startswith(b"RIFF"):
        return {b"WAVE": "audio/wav", b"WEBP": "image/webp"}.get(head[8:12])
    for begin, media_type in _BEGINNINGS:
        if head.startswith(begin):
            return media_type
    return None


_BRANDS = {
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"avif": "image/avif",
    b"avis": "image/avif",
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")),
}
"""Brands of the files that begin like an mp4 video and are none; None for pictures that most browsers do not show."""

_BEGINNINGS = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"BM", "image/bmp"),
    (b"ID3", "audio/mpeg"),
    *((bytes([0xFF, second]), "audio/mpeg") for second in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xE2)),
)
