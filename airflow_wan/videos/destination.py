"""Where a video goes: a local path or any object store Airflow can write to, and always all of it or nothing."""

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

from airflow_wan.exceptions import DestinationError
from airflow_wan.net.stores import STORE_PACKAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Destination:
    """A place for one video.

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
        """The path or URI to hand on."""
        return str(self.local_path or self.uri)

    @property
    def sidecar(self) -> Destination:
        """The record beside the video: ``clip.mp4.json``."""
        return Destination(f"{self.uri}.json")

    @property
    def poster(self) -> Destination:
        """The poster frame beside the video: ``clip.jpg``."""
        return Destination(f"{self._split_uri()[0]}.jpg")

    @property
    def rejected(self) -> Destination:
        """Where the video goes when it is not what was asked for: ``clip.rejected.mp4``."""
        stem, suffix = self._split_uri()
        return Destination(f"{stem}.rejected{suffix}")

    def _split_uri(self) -> tuple[str, str]:
        """Only ``.mp4`` is taken for a suffix: ``clip.v1`` and ``clip.v2`` are two videos, with a poster each."""
        at = len(self.uri) - len(".mp4")
        return (self.uri[:at], self.uri[at:]) if self.uri.lower().endswith(".mp4") else (self.uri, "")

    def prepare(self) -> None:
        """Check, before anything is bought, what can be checked for nothing.

        :raises DestinationError: when the folder cannot be made or written to, or the store's package is missing.
        """
        local = self.local_path
        if "://" in self.uri and local is not None and not local.is_absolute():
            raise DestinationError(f"{self.uri} cannot be written to: a file URI has three slashes (file:///folder/…).")
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
        """A temporary file beside a local destination, or on local disk for an object store; gone afterwards.

        What a killed worker left behind for the same destination goes too.
        """
        local = self.local_path
        folder = local.parent if local else None
        prefix = _staging_prefix(local) if local else "wan-"
        if local is not None:
            for stale in local.parent.glob(f"{glob.escape(prefix)}*.part"):
                stale.unlink(missing_ok=True)
        # An object's content type follows from the name of the file it is made from.
        suffix = ".part" if local else PurePosixPath(self.uri).suffix
        descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=folder)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def publish(self, staged: Path) -> None:
        """Make a complete file appear at the destination at once, over whatever was there.

        :raises DestinationError: when it could not; nothing partial is left at the destination.
        """
        try:
            local = self.local_path
            if local is not None:
                _publish_locally(staged, local)
            else:
                # put_file sends a whole file and aborts when it is cut; a file object opened for writing would
                # publish what it has when it is closed by an exception.
                remote = self._remote()
                remote.fs.put_file(str(staged), remote.path)
        except Exception as error:  # every store has errors of its own
            raise DestinationError(f"{self} could not be written: {type(error).__name__}: {error}") from error

    def write(self, content: bytes) -> None:
        """Publish a few bytes, like a staged file.

        :raises DestinationError: when it could not be done; nothing partial is left at the destination.
        """
        try:
            with self.staging() as staged:
                staged.write_bytes(content)
                self.publish(staged)
        except OSError as error:
            raise DestinationError(f"{self} could not be written: {type(error).__name__}: {error}") from error

    def size(self) -> int | None:
        """How many bytes are there, or None when no file is.

        :raises DestinationError: when it cannot be told.
        """
        return self._told(self._size)

    def read(self, at_most: int) -> bytes | None:
        """The first bytes of what is there, or None when no file is.

        :raises DestinationError: when it cannot be told.
        """
        return self._told(lambda: self._read(lambda file: bytes(file.read(at_most))))

    def sha256(self) -> str | None:
        """The hexadecimal digest of what is there, read piece by piece, or None when no file is.

        :raises DestinationError: when it cannot be told.
        """
        return self._told(lambda: self._read(lambda file: hashlib.file_digest(file, "sha256").hexdigest()))

    @contextlib.contextmanager
    def fetched(self) -> Iterator[Path]:
        """What is there, as a file on local disk: itself, or a copy of an object that is gone afterwards.

        :raises DestinationError: when it cannot be had.
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

    def _told(self, ask: Callable[[], T | None]) -> T | None:
        try:
            return ask()
        except FileNotFoundError:
            return None
        except Exception as error:  # every store has errors of its own
            raise DestinationError(f"{self} could not be read: {type(error).__name__}: {error}") from error

    def _size(self) -> int | None:
        local = self.local_path
        if local is not None:
            return None if local.is_dir() else local.stat().st_size
        remote = self._remote()
        remote.fs.invalidate_cache(remote.path)  # a listing of before may not know of another worker's file
        info = remote.fs.info(remote.path)
        # The folders of an object store are but the beginnings of other objects' names.
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
        """Whether the store's package is installed, and its bucket there. A key that may only write is not held up."""
        remote = self._remote()
        fs = remote.fs
        if self.uri.partition("://")[0].lower() not in STORE_PACKAGES:
            return
        bucket = remote.path.lstrip("/").partition("/")[0]
        with contextlib.suppress(PermissionError):
            if not fs.exists(bucket):
                raise FileNotFoundError(f"there is no bucket {bucket!r}, or it cannot be reached")

    def _remote(self) -> Any:
        from airflow.providers.common.compat.sdk import ObjectStoragePath  # noqa: PLC0415 - heavy, and rarely needed

        return ObjectStoragePath(self.uri)


def _staging_prefix(path: Path) -> str:
    """Tells whose temporary file it is; not by the whole name, which may leave no room in a file name's 255 bytes."""
    return f".{path.name[:40]}.{hashlib.sha256(path.name.encode()).hexdigest()[:8]}."


def _publish_locally(staged: Path, path: Path) -> None:
    with staged.open("rb") as file:
        os.fsync(file.fileno())
    # A temporary file is private to its maker; the published one is as readable as any other new file.
    umask = os.umask(0)
    os.umask(umask)
    staged.chmod(0o666 & ~umask)
    staged.replace(path)
