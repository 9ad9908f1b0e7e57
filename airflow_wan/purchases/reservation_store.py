"""A folder of small files that all workers share, on disk or in an object store. Its files are never changed.

Only their names decide anything; what is in them is for people to read.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_wan.exceptions import LedgerUnreadable
from airflow_wan.net.stores import what_to_install
from airflow_wan.net.whole_files import write_out_folder, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator


class ReservationStore(Protocol):
    """One folder. A listing that begins after a file was added, or removed, must tell so."""

    def names(self) -> list[str]:
        """Return the names of the files; none if there is no such folder yet."""

    def add(self, name: str, content: bytes) -> None:
        """Write a file, and return when it will outlive this machine's crash, as far as the store can promise that."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


class FolderOnDisk:
    """See `ReservationStore`.

    :param folder: the folder; it is made when the first file is added.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """See `ReservationStore.names`."""
        try:
            return os.listdir(self._folder)  # noqa: PTH208 - names are all that is needed
        except FileNotFoundError:
            return []

    def add(self, name: str, content: bytes) -> None:
        """See `ReservationStore.add`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._folder / name, content)
        write_out_folder(self._folder)

    def remove(self, name: str) -> None:
        """See `ReservationStore.remove`."""
        (self._folder / name).unlink(missing_ok=True)


class FolderInStore:
    """See `ReservationStore`.

    :param uri: the folder's URI.
    """

    def __init__(self, uri: str) -> None:
        place: Any = ObjectStoragePath(uri)
        self._fs, self._path = place.fs, place.path.rstrip("/")

    def names(self) -> list[str]:
        """See `ReservationStore.names`."""
        self._fs.invalidate_cache()  # a cached listing does not have what another worker wrote since
        try:
            paths: list[str] = self._fs.ls(self._path, detail=False)
        except FileNotFoundError:
            return []
        return [path.rpartition("/")[2] for path in paths]

    def add(self, name: str, content: bytes) -> None:
        """See `ReservationStore.add`."""
        self._fs.pipe_file(f"{self._path}/{name}", content)

    def remove(self, name: str) -> None:
        """See `ReservationStore.remove`."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._path}/{name}")


def is_on_disk(base: str) -> bool:
    """Return whether a folder is on this machine's file system, shared or not, and not in an object store."""
    return "://" not in base or base.lower().startswith("file:")


def open_store(base: str, folder: str) -> ReservationStore:
    """Return a folder below a base.

    :param base: an absolute path, or the URI of an object store.
    :param folder: names with slashes between them.
    :raises LedgerUnreadable: when the store cannot be reached.
    """
    with telling_errors(base):
        if not is_on_disk(base):
            return FolderInStore(f"{base}/{folder}")
        if base.lower().startswith("file:"):
            base = unquote("/" + base[len("file:") :].lstrip("/").removeprefix("localhost/"))
        root = Path(base).expanduser()
        if not root.is_absolute():
            raise ValueError("it must be an absolute path or the URI of an object store")
        return FolderOnDisk(root / folder)


@contextlib.contextmanager
def telling_errors(base: str) -> Iterator[None]:
    """Make one error of what any store may raise.

    :raises LedgerUnreadable: when the store raises an error.
    """
    try:
        yield
    except Exception as error:
        is_missing = isinstance(error, (ImportError, ValueError))  # the store's package, or a part of it
        problem = f"{type(error).__name__}: {str(error).rstrip('.')}."
        raise LedgerUnreadable(
            f"The reservations of the budget at {base} cannot be read or written: {problem}"
            f"{what_to_install(base.partition('://')[0]) if is_missing else ''}"
        ) from error
