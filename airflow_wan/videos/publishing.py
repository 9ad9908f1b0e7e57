"""Puts a complete file at its path in one step, and replaces no file that has to stay.

Two processes that publish to one path at the same time cannot both succeed: a lock lets one after the other look and
decide. Where locks do not reach other machines, at least a free path is taken once: a link is made only where there is
nothing yet.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from airflow_wan.net.file_locks import has_alone
from airflow_wan.net.retrying import repeat_until
from airflow_wan.net.whole_files import write_out_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LONGEST_WAIT_S = 30.0
"""Seconds to wait while another process decides about the same path; it takes as long as reading a file takes."""


def publish_file(staged: Path, path: Path, *, lock: Path, may_replace: Callable[[], bool] | None) -> bool:
    """Put a complete file at its path in one step.

    :param staged: the complete file, in the same folder. It may be moved.
    :param path: where it goes.
    :param lock: a path in the same folder, the same for all who publish to `path`; there is a file while it is held.
    :param may_replace: tells whether the file that is at the path may be replaced; None: whatever is there may.
    :returns: whether the file was published; if not, the file that is at the path has stayed.
    :raises OSError: when it could not be published.
    """
    _finish(staged)
    with _alone(lock):
        if not _publish_if_free(staged, path):
            if path.exists() and not stat.S_ISREG(path.stat().st_mode):
                raise FileExistsError(f"what is at {path} is no regular file")
            if may_replace is not None and not may_replace():
                return False
            staged.replace(path)
    write_out_folder(path.parent)
    return True


def _finish(staged: Path) -> None:
    """Write a file out to the disk, and give it the permissions of any new file: so far, only its owner may read it."""
    with staged.open("rb") as file:
        os.fsync(file.fileno())
    umask = os.umask(0)
    os.umask(umask)
    staged.chmod(0o666 & ~umask)


def _publish_if_free(staged: Path, path: Path) -> bool:
    """Publish a file if there is none at its path yet, and return whether that was so."""
    try:
        os.link(staged, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            return False
        staged.replace(path)
    return True


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Let one process after the other in; where the file system has no locks, all at once."""
    descriptor = repeat_until(
        lambda taken: taken is not None,
        lambda: _take(lock),
        despite=BlockingIOError,
        pause_s=0.05,
        longest_s=LONGEST_WAIT_S,
    )
    if descriptor is None:
        raise TimeoutError(f"another process has held {lock} for {LONGEST_WAIT_S:g} s")
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)  # while it is held: whoever opened this file before takes another one
        os.close(descriptor)


def _take(lock: Path) -> int | None:
    """Return the open lock file, or None while another process holds it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if has_alone(descriptor):
        return descriptor
    os.close(descriptor)
    return None
