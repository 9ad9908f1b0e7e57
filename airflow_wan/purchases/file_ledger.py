"""A purchase record in a file beside the video: for a command, which has no Airflow that would keep it.

One process at a time has the record of a video. It holds a lock from before it reads the record until its work is
done, so no other process decides by what it is about to change. A process that is killed leaves the record, and no
lock.
"""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Self

from airflow_wan.exceptions import DestinationError, LedgerUnreadable
from airflow_wan.net.file_locks import try_lock
from airflow_wan.net.whole_files import replace_whole, write_out_folder
from airflow_wan.purchases.record import Intent, Purchase, read_record

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

RECORD_SUFFIX = ".purchase.json"
"""What is added to the name of a video for the name of its purchase record."""

MAX_RECORD_BYTES = 1024 * 1024
"""A larger file is no record: the longest prompt has 20,000 characters."""


class FileLedger:
    """See `Ledger`; a context manager, which holds the lock.

    It is the running try, too (`airflow_wan.purchases.buyer.RunningTry`): it counts as long as it has the lock.

    :param video: the local path of the video.
    """

    def __init__(self, video: Path) -> None:
        self.path = record_path(video)
        self._draft = video.with_name(f".{self.path.name}.draft")
        self._lock_path = video.with_name(f".{self.path.name}.lock")
        self._lock = -1
        self.where = f"the file {self.path}"

    def __enter__(self) -> Self:
        """Take the lock.

        :raises LedgerUnreadable: when another process has it, or the file system has no locks.
        :raises DestinationError: when there can be no such file.
        """
        while self._lock < 0:
            try:
                descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except OSError as error:
                too_long = " (the name is too long)" if error.errno == errno.ENAMETOOLONG else ""
                raise DestinationError(
                    f"No purchase record can be kept at {self.path}{too_long}: {error.strerror}."
                ) from error
            is_locked = try_lock(descriptor)
            if is_locked and os.fstat(descriptor).st_nlink:
                self._lock = descriptor
                break
            os.close(descriptor)
            if is_locked is None:
                raise LedgerUnreadable(
                    f"The file system of {self.path.parent} has no locks, so nothing would keep two processes from "
                    "buying one video twice. Nothing was sent. Give a path on another file system."
                )
            if not is_locked:
                raise LedgerUnreadable(
                    f"Another process is making the video that {self.path} is for. This one sends nothing."
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        self._lock_path.unlink(missing_ok=True)  # while it is held: whoever opened this file before takes another one
        os.close(self._lock)
        self._lock = -1

    def check_is_running(self) -> None:
        """Return if this process has the lock.

        :raises LedgerUnreadable: when somebody has removed the file that is locked, so that others may lock it, too.
        """
        try:
            is_ours = self._lock >= 0 and os.path.samestat(os.fstat(self._lock), self._lock_path.stat())
        except OSError:
            is_ours = False
        if not is_ours:
            raise LedgerUnreadable(f"{self._lock_path} was removed: another process may be at work. Nothing was sent.")

    def read(self) -> Intent | Purchase | None:
        """See `Ledger.read`."""
        return read_record_file(self.path)

    def write(self, record: Intent | Purchase) -> None:
        """See `Ledger.write`."""
        content = json.dumps(record.to_record(), indent=2, ensure_ascii=False) + "\n"
        try:
            replace_whole(self.path, content.encode(), draft=self._draft)
        except OSError as error:
            raise LedgerUnreadable(f"{self.path} cannot be written: {error.strerror or error}") from error

    def clear(self, *, own_only: bool = False) -> None:  # noqa: ARG002 - there is one record for all tries
        """See `Ledger.clear`."""
        try:
            self.path.unlink(missing_ok=True)
            self._draft.unlink(missing_ok=True)
        except OSError as error:
            raise LedgerUnreadable(f"{self.path} cannot be removed: {error.strerror or error}") from error
        write_out_folder(self.path.parent)


def record_path(video: Path) -> Path:
    """Return the path of the purchase record of a video."""
    return video.with_name(video.name + RECORD_SUFFIX)


def read_record_file(path: Path) -> Intent | Purchase | None:
    """Return the record in a file; None if there is certainly no such file.

    :raises LedgerUnreadable: when it cannot be read, or is no record.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_RECORD_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LedgerUnreadable(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        if len(content) > MAX_RECORD_BYTES:
            raise ValueError  # noqa: TRY301 - it is no record either
        record = json.loads(content)
    except (ValueError, RecursionError):
        raise LedgerUnreadable(f"{path} does not hold the record of a purchase.") from None
    return read_record(record)
