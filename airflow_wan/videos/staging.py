"""The temporary files that a video, a record or a poster is written to before it is published.

Each belongs to the process that made it, which holds a lock on it for as long as it lives. A file that a killed process
left behind is removed by the next one that writes to the same local destination, or to any object store. It is removed
only if nobody can still be using it: its lock is free, and it was made on this machine, for locks may not reach other
machines; or it is two days old.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_wan.net.file_locks import has_alone, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

ABANDONED_AFTER_S = 48 * 3600.0
"""Seconds after the last write, after which nobody can still use a file: a link to a video expires after 24 h."""


@contextlib.contextmanager
def staged_file(folder: Path, prefix: str, suffix: str, abandoned_suffix: str | None = None) -> Iterator[Path]:
    """Provide an empty file that no other process writes to or removes; it is removed afterwards.

    :param folder: where to make it.
    :param prefix: start of its name, the same for all files of one destination.
    :param suffix: end of its name.
    :param abandoned_suffix: end of the names of files to remove if they are abandoned; by default `suffix`.
    :raises OSError: when it cannot be made.
    """
    remove_abandoned(folder, prefix, suffix if abandoned_suffix is None else abandoned_suffix)
    descriptor, path = _new_file(folder, prefix, suffix)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def remove_abandoned(folder: Path, prefix: str, suffix: str) -> None:
    """Remove what killed processes left behind of the files that `staged_file` makes with the same arguments."""
    for path in folder.glob(f"{glob.escape(prefix)}*{glob.escape(suffix)}"):
        # What may not be opened belongs to another user, and what is gone was removed by another process.
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if _is_abandoned(path, descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def _is_abandoned(path: Path, descriptor: int) -> bool:
    is_locked = try_lock(descriptor)
    if is_locked is False:
        return False
    is_from_here = bool(is_locked) and f".{_machine()}." in path.name
    return is_from_here or time.time() - os.fstat(descriptor).st_mtime > ABANDONED_AFTER_S


def _new_file(folder: Path, prefix: str, suffix: str) -> tuple[int, Path]:
    """Return a new file that is locked, where the file system has locks."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=f"{prefix}{_machine()}.", suffix=suffix, dir=folder)
        if has_alone(descriptor):
            return descriptor, Path(name)
        os.close(descriptor)  # another process took it for abandoned in the moment before it was locked


@functools.cache
def _machine() -> str:
    """Return a name of this machine, until it is started anew: each of its containers has the same."""
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        started = platform.node()
    return hashlib.sha256(started.encode()).hexdigest()[:8]
