"""Locks on files, by which processes of one machine keep out of each other's way; a killed process leaves none."""

from __future__ import annotations

import fcntl
import os


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file without waiting.

    :param descriptor: the open file.
    :returns: whether this process has locked it; None on a file system that has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def has_alone(descriptor: int) -> bool:
    """Lock an open file without waiting, and return whether no other process uses or has removed it.

    On a file system that has no locks, nobody can tell, and it counts as this process's own.

    :param descriptor: the open file.
    """
    is_locked = try_lock(descriptor)
    return is_locked is None or (is_locked and os.fstat(descriptor).st_nlink > 0)
