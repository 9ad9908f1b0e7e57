"""Spaces the create requests of all tasks on one machine, so that they seldom meet the gateway's limit.

A file in the temporary folder, one for each account and model, holds the moment of the next free turn. Who wants to
send takes that turn, moves the moment on, and waits. Threads and processes are treated alike.

It saves requests that would be refused, and no more than that: whether a video is bought, and only once, does not
depend on it. It does not reach tasks on other machines, in other containers or of other users of the machine; and a
turn whose process is killed is lost. What the gateway refuses all the same is sent again, see `buyer`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_wan.net.file_locks import try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_wan.api.gateways import Account

log = logging.getLogger(__name__)

LONGEST_LINE_S = 600.0
"""A next turn that is further away than this, in seconds, was written before the machine was started anew, or by
mistake."""

LOCK_ATTEMPTS = 100
LOCK_PAUSE_S = 0.01
"""How often, and with which pause in seconds, the file's lock is tried. Its owner keeps it for less than a
millisecond, unless it is frozen: then the request is sent without a turn."""

TOLD_FROM_S = 5.0
"""A turn that is at least so many seconds away is told in the log."""

_MAX_TEXT_BYTES = 64


def wait_for_turn(account: Account, model: str, *, per_second: float, longest_s: float) -> None:
    """Return when it is this request's turn.

    :param account: the account to buy with.
    :param model: the model id; the gateway counts each model's requests for themselves.
    :param per_second: turns a second; 0 for no limit.
    :param longest_s: longest time to wait, in seconds.
    """
    if per_second <= 0:
        return
    wait_s = min(_take_turn(account, model, 1 / per_second), longest_s)
    if wait_s >= TOLD_FROM_S:
        log.info(
            "%.0f s until this create request is sent: the tasks on this machine send at most %g a second for %s. "
            "This task holds a worker slot meanwhile; nothing is bought yet.",
            wait_s,
            per_second,
            model,
        )
    if wait_s > 0:
        time.sleep(wait_s)


def _take_turn(account: Account, model: str, spacing_s: float) -> float:
    """Take the next free turn, and return how many seconds away it is; 0 if turns cannot be taken here."""
    try:
        with _locked(_file_of(account, model)) as descriptor:
            if descriptor is None:
                return 0.0
            # The monotonic clock is the same for all processes, and nobody sets it.
            now = time.monotonic()
            turn = _read(descriptor, now)
            os.pwrite(descriptor, f"{turn + spacing_s:{_MAX_TEXT_BYTES}.6f}".encode(), 0)
    except OSError as error:
        log.debug("Create requests are not spaced: %s", error)
        return 0.0
    return turn - now


def _read(descriptor: int, now: float) -> float:
    """Return the next free turn, now at the earliest."""
    try:
        turn = float(os.pread(descriptor, _MAX_TEXT_BYTES, 0))
    except ValueError:  # new, or not ours
        turn = now
    return turn if math.isfinite(turn) and now <= turn <= now + LONGEST_LINE_S else now


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[int | None]:
    """Open a file for this process alone; yields None if another one does not leave it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor if _lock(descriptor) else None
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    for _ in range(LOCK_ATTEMPTS):
        is_locked = try_lock(descriptor)
        if is_locked is None:  # a file system without locks
            return False
        if is_locked:
            return True
        time.sleep(LOCK_PAUSE_S)
    return False


def _file_of(account: Account, model: str) -> Path:
    """Return the file of an account and a model, in a folder that is this user's alone.

    Its name tells nothing: a digest of a key that is as long as those of the gateways cannot be traced back.
    """
    identity = f"{account.base_url}\0{model}"
    name = hashlib.blake2b(identity.encode(), key=account.api_key.encode()[:64], digest_size=16).hexdigest()
    return _folder() / name


def _folder() -> Path:
    """Return this user's folder for them.

    :raises OSError: when there can be none, or another user has made it.
    """
    folder = Path(tempfile.gettempdir()) / f"airflow_wan-creates-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    return folder
