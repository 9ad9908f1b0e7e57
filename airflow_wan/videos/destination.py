"""The place that a video is written to: a local path, or any object store that Airflow can write to.

A file appears there complete or not at all.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_wan.exceptions import DestinationError
from airflow_wan.net.stores import STORE_PACKAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Destination:
    """The place of one file.

    :param uri: a local path, or a URI that ``ObjectStoragePath`` understands (``s3://conn_id@bucket/key.mp4``).
    """

    uri: str

    @property
    def local_path(self) -> Path | None:
        """The path on this machine's file system, or None for an object store."""
        scheme, _, rest = self.uri.partition(":")
        if scheme.lower() == "file":
            return Path(unquote(rest.removeprefix("//")))
        return None if "://" in self.uri else Path(self.uri)

    def __str__(self) -> str:
        """Return the path or URI, as downstream tasks get it."""
        return str(self.local_path or self.uri)

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

    def _split_uri(self) -> tuple[str, str]:
        """Return the URI without its suffix, and the suffix.

        Only ``.mp4`` is a suffix: ``clip.v1`` and ``clip.v2`` are two videos, each with its own poster.
        """
        at = len(self.uri) - len(".mp4")
        return (self.uri[:at], self.uri[at:]) if self.uri.lower().endswith(".mp4") else (self.uri, "")

    def prepare(self) -> None:
        """Create the folder, and check before anything is bought that a file can be written here.

        :raises DestinationError: when the folder cannot be created or written to, when the store's package is not
            installed, or when the bucket does not exist.
        """
        local = self.local_path
        if "://" in self.uri and local is not None and not local.is_absolute():
            raise DestinationError(
                f"{self.uri} cannot be written to: a file URI needs three slashes (file:///folder/…)."
            )
        try:
            if local is None:
                self._check_store()
                return
            local.parent.mkdir(parents=True, exist_ok=True)
            writable = os.access(local.parent, os.W_OK) and not local.is_dir()
        except Exception as error:  # every store has errors of its own
            raise DestinationError(f"{self} cannot be written to: {type(error).__name__}: {error}") from error
        if not writable:
            raise DestinationError(f"{self} cannot be written to: no write access, or it is a folder.")

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Provide a temporary file: beside a local destination, or on local disk for an object store.

        It is removed afterwards, as are files that a killed worker left behind for the same destination.
        """
        local = self.local_path
        folder = local.parent if local else None
        prefix = _staging_prefix(local) if local else "wan-"
        if local is not None:
            for stale in local.parent.glob(f"{glob.escape(prefix)}*.part"):
                stale.unlink(missing_ok=True)
        # A store derives an object's content type from the name of the uploaded file.
        suffix = ".part" if local else PurePosixPath(self.uri).suffix
        descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=folder)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def publish(self, staged: Path) -> None:
        """Put a complete file at the destination in one step, and replace any file that is there.

        :param staged: the complete file, on local disk. It may be moved.
        :raises DestinationError: when it could not be written; no partial file is left at the destination.
        """
        try:
            local = self.local_path
            if local is not None:
                _publish_locally(staged, local)
            else:
                # put_file sends the whole file and aborts when the connection breaks. A file object that is opened
                # for writing would publish a partial file when an exception closes it.
                remote = self._remote()
                remote.fs.put_file(str(staged), remote.path)
        except Exception as error:  # every store has errors of its own
            raise DestinationError(f"{self} could not be written: {type(error).__name__}: {error}") from error

    def write(self, content: bytes) -> None:
        """Put a small file at the destination in one step, as `publish` does.

        :raises DestinationError: when it could not be written; no partial file is left at the destination.
        """
        try:
            with self.staging() as staged:
                staged.write_bytes(content)
                self.publish(staged)
        except OSError as error:
            raise DestinationError(f"{self} could not be written: {type(error).__name__}: {error}") from error

    def size(self) -> int | None:
        """Return the size of the file in bytes, or None when there is no file.

        :raises DestinationError: when the store cannot answer.
        """
        return self._none_if_missing(self._size)

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
            return None if local.is_dir() else local.stat().st_size
        remote = self._remote()
        remote.fs.invalidate_cache(remote.path)  # a cached listing does not have what another worker wrote since
        info = remote.fs.info(remote.path)
        # A folder in an object store is only a common prefix of other objects' names.
        return int(info["size"]) if info["type"] == "file" else None

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
        """Raise when the store's package is not installed, or its bucket does not exist.

        A key that may only write cannot check the bucket, and passes.
        """
        remote = self._remote()
        fs = remote.fs
        if self.uri.partition("://")[0].lower() not in STORE_PACKAGES:
            return
        bucket = remote.path.lstrip("/").partition("/")[0]
        with contextlib.suppress(PermissionError):
            if not fs.exists(bucket):
                raise FileNotFoundError(f"there is no bucket {bucket!r}, or it cannot be reached with this connection")

    def _remote(self) -> Any:
        return ObjectStoragePath(self.uri)


def _staging_prefix(path: Path) -> str:
    """Return the start of the temporary files' names, different for each destination.

    It holds part of the name and a digest: the whole name could exceed the 255 bytes of a file name.
    """
    return f".{path.name[:40]}.{hashlib.sha256(path.name.encode()).hexdigest()[:8]}."


def _publish_locally(staged: Path, path: Path) -> None:
    with staged.open("rb") as file:
        os.fsync(file.fileno())
    # Only its owner may read a temporary file; the published file gets the permissions of any new file.
    umask = os.umask(0)
    os.umask(umask)
    staged.chmod(0o666 & ~umask)
    staged.replace(path)
