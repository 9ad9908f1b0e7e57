"""The place that a video is written to: a local path, or any object store that Airflow can write to.

A file appears there complete or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import inspect
import os
import re
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import BaseHook, ObjectStoragePath

from airflow_wan.exceptions import DestinationError
from airflow_wan.net.safe_names import safe_name
from airflow_wan.net.stores import STORE_PACKAGES, what_to_install
from airflow_wan.net.whole_files import write_whole
from airflow_wan.videos.address import MAX_NAME_BYTES, is_object
from airflow_wan.videos.publishing import publish_file
from airflow_wan.videos.staging import staged_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

T = TypeVar("T")

_MAX_SUFFIX_CHARS = 10

# The beginning of the temporary files' names for all objects: each task removes what any other left behind.
_OBJECT_PREFIX = ".airflow-wan."

# What the file systems call an object's tag, or else the time of its last change.
_VERSION_NAMES = ("ETag", "etag", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True, slots=True)
class Destination:
    """The place of one file.

    :param uri: a local path, or a URI that ``ObjectStoragePath`` understands (``s3://conn_id@bucket/key.mp4``), as
        `read_address` returns it.
    :param may_replace: tells whether the file that is there may be replaced. None: any file may.
    """

    uri: str
    may_replace: Callable[[], bool] | None = field(default=None, compare=False, repr=False)

    @property
    def local_path(self) -> Path | None:
        """The path on this machine's file system, or None for an object store."""
        return None if is_object(self.uri) else Path(self.uri)

    def __str__(self) -> str:
        """Return the path or URI, as downstream tasks get it."""
        return str(self.local_path or self.uri)

    @property
    def name(self) -> str:
        """The name of the file, without its folder."""
        return self.uri.rpartition("/")[2]

    @property
    def sidecar(self) -> Destination:
        """The place of the record beside the video: ``clip.mp4.json``."""
        return Destination(f"{self.uri}.json")

    @property
    def poster(self) -> Destination:
        """The place of the poster frame beside the video: ``clip.jpg``."""
        return Destination(f"{self._split_uri()[0]}.jpg")

    @property
    def rejected(self) -> Destination:
        """The place of a video that was not accepted: ``clip.rejected.mp4``."""
        stem, suffix = self._split_uri()
        return Destination(f"{stem}.rejected{suffix}")

    def beside(self, wan_task_id: str) -> Destination:
        """Return the place of a video that may not replace what is at its destination: ``clip.<wan task id>.mp4``."""
        stem, suffix = self._split_uri()
        folder, slash, name = stem.rpartition("/")
        mark = f".{safe_name(wan_task_id)}{suffix}"
        # Something more may be added to this name, such as ".json", and the temporary file's random part.
        kept = name.encode(errors="surrogateescape")[: MAX_NAME_BYTES - len(mark) - len(".rejected.json")]
        return Destination(f"{folder}{slash}{kept.decode(errors='ignore')}{mark}")

    def _split_uri(self) -> tuple[str, str]:
        """Return the URI without its suffix, and the suffix.

        Only ``.mp4`` is a suffix: ``clip.v1`` and ``clip.v2`` are two videos, each with its own poster.
        """
        at = len(self.uri) - len(".mp4")
        return (self.uri[:at], self.uri[at:]) if self.uri.lower().endswith(".mp4") else (self.uri, "")

    def prepare(self) -> None:
        """Create the folder, and prove before anything is bought that a file can be written here.

        A small file is written beside a local destination, and in the temporary folder for an object store; it is
        removed at once. Nothing is written to Amazon, Google, Azure and OSS, where that would cost money.

        :raises DestinationError: when the folder cannot be created or written to, when the store's package or its
            connection is missing, or when the bucket does not exist.
        """
        local = self.local_path
        try:
            if local is None:
                self._check_store()
            else:
                local.parent.mkdir(parents=True, exist_ok=True)
                _check_replaceable(local)
            with self.staging() as staged:
                write_whole(staged, b"probe")
        except DestinationError:
            raise
        except Exception as error:  # every store has errors of its own
            raise self._not_writable(error) from error

    def check_name(self) -> None:
        """Check that a file of this name can be where the video is, and that a file that is there can be replaced.

        :raises DestinationError: when that is not so.
        """
        if (local := self.local_path) is None:
            return
        try:
            _check_replaceable(local)
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, cause: Exception) -> DestinationError:
        """Return the error that says so; where a folder has the name, or a file that of a folder, no retry helps."""
        error = DestinationError(f"{self} cannot be written to: {type(cause).__name__}: {cause}")
        is_taken = isinstance(cause, (FileExistsError, IsADirectoryError, NotADirectoryError))
        error.retry_can_help = not (is_taken and self.local_path is not None)
        return error

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Provide a temporary file: beside a local destination, or on local disk for an object store.

        No other process writes to it or removes it. It is removed afterwards, as are files that killed workers left
        behind for the same local destination, or for any object store.
        """
        local = self.local_path
        if local is not None:
            staging = staged_file(local.parent, _staging_prefix(local.name), ".part")
        else:
            # A store derives an object's content type from the name of the uploaded file.
            suffix = PurePosixPath(self.uri).suffix[:_MAX_SUFFIX_CHARS]
            staging = staged_file(Path(tempfile.gettempdir()), _OBJECT_PREFIX, suffix, abandoned_suffix="")
        with staging as staged:
            yield staged

    def publish(self, staged: Path) -> bool:
        """Put a complete file at the destination in one step, unless a file is there that may not be replaced.

        :param staged: the complete file, from `staging`. It may be moved.
        :returns: whether the file was published; if not, the file that is there has stayed.
        :raises DestinationError: when it could not be written; no partial file is left at the destination.
        """
        try:
            local = self.local_path
            if local is not None:
                lock = local.parent / f"{_staging_prefix(local.name)}lock"
                return publish_file(staged, local, lock=lock, may_replace=self.may_replace)
            return self._upload(staged)
        except DestinationError:
            raise
        except Exception as error:  # every store has errors of its own
            raise DestinationError(f"{self} could not be written: {type(error).__name__}: {error}") from error

    def _upload(self, staged: Path) -> bool:
        """Publish a file to an object store.

        A store that knows conditional writes refuses to replace an object that came after the look. With another one,
        an object is lost that comes between the look and the end of the upload.
        """
        # put_file sends the whole file and aborts when the connection breaks. A file object that is opened for writing
        # would publish a partial file when an exception closes it.
        remote = self._remote()
        if self.may_replace is not None:
            if self._may_be_free() and _create_object(remote, staged):
                return True
            if not self._may_be_free() and not self.may_replace():
                return False
        remote.fs.put_file(str(staged), remote.path)
        return True

    def _may_be_free(self) -> bool:
        """Return whether there is no file; a key that may only write cannot tell, and may write."""
        try:
            return self.size() is None
        except DestinationError as error:
            if isinstance(error.__cause__, PermissionError):
                return True
            raise

    def write(self, content: bytes) -> bool:
        """Put a small file at the destination in one step, as `publish` does.

        :returns: whether the file was published; if not, the file that is there has stayed.
        :raises DestinationError: when it could not be written; no partial file is left at the destination.
        """
        try:
            with self.staging() as staged:
                write_whole(staged, content)
                return self.publish(staged)
        except OSError as error:
            raise DestinationError(f"{self} could not be written: {type(error).__name__}: {error}") from error

    def size(self) -> int | None:
        """Return the size of the file in bytes, or None when there is no file: a folder, a pipe or a device is none.

        :raises DestinationError: when the store cannot answer.
        """
        return self._none_if_missing(self._size)

    def version(self) -> str | None:
        """Return what distinguishes the file from any later one at the same place; "" when there is no file.

        :returns: None if a key that may only write cannot tell.
        :raises DestinationError: when the store cannot answer for now.
        """
        try:
            return self._none_if_missing(self._version) or ""
        except DestinationError as error:
            if isinstance(error.__cause__, PermissionError):
                return None
            raise

    def modified_at(self) -> float | None:
        """Return when the file came to its place, unix time in s by the clock of the store; None when there is none.

        :raises DestinationError: when the store cannot answer.
        """
        return self._none_if_missing(self._modified_at)

    def read(self, at_most: int) -> bytes | None:
        """Return the first bytes of the file, or None when there is no file.

        :param at_most: how many bytes.
        :raises DestinationError: when it cannot be read.
        """
        return self._none_if_missing(lambda: self._read(lambda file: bytes(file.read(at_most))))

    def sha256(self) -> str | None:
        """Return the hexadecimal digest of the file, or None when there is no file. The file is read in pieces.

        :raises DestinationError: when it cannot be read.
        """
        return self._none_if_missing(lambda: self._read(lambda file: hashlib.file_digest(file, "sha256").hexdigest()))

    @contextlib.contextmanager
    def fetched(self) -> Iterator[Path]:
        """Provide the file on local disk: a local file itself, or a copy of an object, which is removed afterwards.

        :raises DestinationError: when it cannot be read.
        """
        local = self.local_path
        if local is not None:
            yield local
            return
        with self.staging() as copy:
            try:
                remote = self._remote()
                remote.fs.get_file(remote.path, str(copy))
            except Exception as error:  # every store has errors of its own
                raise DestinationError(f"{self} could not be read: {type(error).__name__}: {error}") from error
            yield copy

    def _none_if_missing(self, read: Callable[[], T | None]) -> T | None:
        try:
            return read()
        except FileNotFoundError:
            return None
        except Exception as error:  # every store has errors of its own
            raise DestinationError(f"{self} could not be read: {type(error).__name__}: {error}") from error

    def _size(self) -> int | None:
        local = self.local_path
        if local is not None:
            status = local.stat()
            return status.st_size if stat.S_ISREG(status.st_mode) else None
        info = self._object_info()
        return int(info["size"]) if info else None

    def _version(self) -> str | None:
        local = self.local_path
        if local is not None:
            status = local.stat()
            return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
        info = self._object_info() or {}
        return next((str(info[name]) for name in _VERSION_NAMES if info.get(name)), None)

    def _modified_at(self) -> float | None:
        local = self.local_path
        if local is not None:
            status = local.stat()
            return max(status.st_mtime, status.st_ctime)  # a file keeps the first when it is moved to its place
        remote = self._remote()
        moment: datetime | int = remote.fs.modified(remote.path)  # ossfs has a number
        return float(moment) if isinstance(moment, int) else moment.timestamp()

    def _object_info(self) -> dict[str, Any] | None:
        """Return what an object store tells of the object; None for a folder, which is only a prefix of other names."""
        remote = self._remote()
        remote.fs.invalidate_cache(remote.path)  # a cached listing does not have what another worker wrote since
        info: dict[str, Any] = remote.fs.info(remote.path)
        return info if info["type"] == "file" else None

    def _read(self, read: Callable[[Any], T]) -> T | None:
        if self._size() is None:
            return None
        with self._opened() as file:
            return read(file)

    def _opened(self) -> Any:
        local = self.local_path
        if local is not None:
            return local.open("rb")
        remote = self._remote()
        return remote.fs.open(remote.path, "rb")

    def _check_store(self) -> None:
        """Raise when the store's package or its connection is missing, or its bucket does not exist.

        A key that may only write cannot check the bucket, and passes.
        """
        scheme, _, rest = self.uri.partition("://")
        authority, _, key = rest.partition("/")
        conn_id, named, bucket = authority.rpartition("@")
        if named:
            BaseHook.get_connection(conn_id)  # Amazon's file system goes on without one that does not exist
        remote = self._remote()
        try:
            fs = remote.fs
        except (ImportError, ValueError) as error:  # the store's package is missing, or a part of it
            problem = f"{type(error).__name__}: {str(error).rstrip('.')}"
            raise DestinationError(f"{self} cannot be written to: {problem}.{what_to_install(scheme)}") from error
        if scheme not in STORE_PACKAGES:
            if not remote.path.endswith(key[-1:]):  # a "?" or "#" at the end of a key is dropped
                raise ValueError(f"it would be taken for {remote.path}")
            self._probe(fs, remote.path)
            return
        if getattr(fs, "anon", False) is True:
            raise PermissionError("there are no credentials for it: name a connection, as in s3://conn_id@bucket/key")
        taken_for = (
            fs.split_path(remote.path)[:2] if hasattr(fs, "split_path") else remote.path.removeprefix("/").split("/", 1)
        )
        if list(taken_for) != [bucket, key]:  # some file systems drop a "?" or "#" at the end of a key
            raise ValueError(f"it would be taken for {'/'.join(map(str, taken_for))}")
        with contextlib.suppress(PermissionError):
            if not fs.exists(bucket):
                raise FileNotFoundError(f"there is no bucket {bucket!r}, or it cannot be reached with this connection")

    def _probe(self, fs: Any, path: str) -> None:
        """Write a file to a store of which nothing is known, and remove it."""
        probe = f"{path}.probe"
        with self.staging() as staged:
            write_whole(staged, b"probe")
            fs.put_file(str(staged), probe)
        fs.rm_file(probe)

    @property
    def place(self) -> str:
        """The same text for two destinations that are one place, however they are spelled."""
        local = self.local_path
        return place_of_object(self.uri, self._remote().path) if local is None else place_of_path(local)

    def _remote(self) -> Any:
        return ObjectStoragePath(self.uri)


def place_of_path(path: Path) -> str:
    """Return the same text for two local paths that lead to one place, through links or without."""
    return os.path.realpath(re.sub("^/+", "/", str(path)))


def place_of_object(uri: str, path: str) -> str:
    """Return the same text for two objects that may be one, whatever the connection and the number of slashes.

    :param uri: the object's URI.
    :param path: its path in its store.
    """
    scheme = uri.partition("://")[0].lower()
    store = STORE_PACKAGES.get(scheme, scheme)  # of s3 and s3a, for example, it is one
    return f"{store}:{re.sub('/+', '/', path).strip('/')}"


def _check_replaceable(path: Path) -> None:
    """Check that there is nothing at a path, or a regular file that can be replaced.

    :raises OSError: when the name is not possible, or what is there cannot be replaced.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise FileExistsError("there is a folder, or what is no regular file")
    folder = path.parent.stat()
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, folder.st_uid, path.lstat().st_uid):
        raise PermissionError("only the owner of the file that is there may replace it")


def _staging_prefix(name: str) -> str:
    """Return the start of the temporary files' names, different for each local destination.

    It holds part of the name and a digest: the whole name could exceed the 255 bytes of a file name.

    :param name: the name of a file.
    """
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
    return f".{name[:40]}.{digest}."


def _create_object(remote: Any, staged: Path) -> bool:
    """Upload a file if there is no such object, and return whether that was so.

    s3fs, gcsfs and our own file system for OSS have the store itself refuse; other file systems have no such argument.
    """
    if "mode" not in inspect.signature(remote.fs.put_file).parameters:
        remote.fs.put_file(str(staged), remote.path)
        return True
    try:
        remote.fs.put_file(str(staged), remote.path, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        remote.fs.put_file(str(staged), remote.path)  # a store without conditional writes
    return True
