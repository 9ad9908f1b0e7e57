"""A file comes to its path in one step, and of several that come at the same time no one replaces another."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.exceptions import DestinationError
from airflow_wan.videos import publishing
from airflow_wan.videos.destination import Destination

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def publish(path: Path, content: bytes, may_replace: Callable[[], bool] | None) -> bool:
    destination = Destination(str(path), may_replace)
    with destination.staging() as staged:
        staged.write_bytes(content)
        return destination.publish(staged)


@pytest.fixture(params=["links", "no links"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path in a folder, on a file system that has hard links or has none."""
    if request.param == "no links":

        def refuse(*_: Any) -> None:
            raise PermissionError("no hard links here")

        monkeypatch.setattr("os.link", refuse)
    return tmp_path / "film.mp4"


def test_a_file_comes_to_a_free_path_and_nothing_is_asked(path: Path) -> None:
    assert publish(path, b"film", may_replace=pytest.fail)

    assert path.read_bytes() == b"film"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("may_replace", [True, False])
def test_a_file_that_is_there_is_replaced_or_stays_as_it_is_decided(may_replace: bool, path: Path) -> None:
    path.write_bytes(b"earlier")

    assert publish(path, b"film", lambda: may_replace) is may_replace

    assert path.read_bytes() == (b"film" if may_replace else b"earlier")
    assert list(path.parent.iterdir()) == [path]


def test_a_decision_that_fails_leaves_the_file_that_is_there(path: Path) -> None:
    path.write_bytes(b"earlier")

    def cannot_tell() -> bool:
        raise DestinationError("cannot be read for now")

    with pytest.raises(DestinationError, match="for now"):
        publish(path, b"film", cannot_tell)

    assert path.read_bytes() == b"earlier"
    assert list(path.parent.iterdir()) == [path]


def test_of_many_that_come_to_a_free_path_at_once_exactly_one_is_published(path: Path) -> None:
    workers = 4
    for _ in range(10):
        path.unlink(missing_ok=True)
        start = threading.Barrier(workers)

        def come(name: int, start: threading.Barrier = start) -> bool:
            start.wait()
            return publish(path, b"%d" % name, lambda: False)

        with ThreadPoolExecutor(workers) as pool:
            published = list(pool.map(come, range(workers)))

        assert sorted(published) == [False] * (workers - 1) + [True]
        assert path.read_bytes() == b"%d" % published.index(True)


def test_of_many_that_replace_the_same_earlier_file_at_once_exactly_one_is_published(path: Path) -> None:
    workers = 4
    for _ in range(10):
        path.write_bytes(b"earlier")
        there, start = Destination(str(path)).version(), threading.Barrier(workers)

        def come(name: int, there: str | None = there, start: threading.Barrier = start) -> bool:
            start.wait()
            return publish(path, b"%d" % name, lambda: Destination(str(path)).version() == there)

        with ThreadPoolExecutor(workers) as pool:
            published = list(pool.map(come, range(workers)))

        assert sorted(published) == [False] * (workers - 1) + [True]
        assert path.read_bytes() == b"%d" % published.index(True)
        assert list(path.parent.iterdir()) == [path]


def test_no_one_decides_while_another_is_deciding(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"earlier")
    decides, waits, goes_on = threading.Event(), threading.Event(), threading.Event()
    take = publishing._take

    def take_or_tell(lock: Path) -> int | None:
        descriptor = take(lock)
        if descriptor is None:
            waits.set()
        return descriptor

    monkeypatch.setattr(publishing, "_take", take_or_tell)

    def first_decides() -> bool:
        decides.set()
        assert goes_on.wait(60)
        return path.read_bytes() == b"earlier"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(publish, path, b"first", first_decides)
        assert decides.wait(60)
        second = pool.submit(publish, path, b"second", lambda: path.read_bytes() == b"earlier")
        assert waits.wait(60)
        goes_on.set()

        assert (first.result(), second.result()) == (True, False)
    assert path.read_bytes() == b"first"


def test_a_file_that_comes_between_the_look_and_the_lock_is_asked_about(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path becomes free, or another file comes, just before the lock is taken."""
    path.write_bytes(b"earlier")
    take = publishing._take

    def another_comes_first(lock: Path, change: Callable[[], Any]) -> int | None:
        change()
        return take(lock)

    monkeypatch.setattr(publishing, "_take", partial(another_comes_first, change=path.unlink))
    assert publish(path, b"mine", may_replace=pytest.fail)

    monkeypatch.setattr(publishing, "_take", partial(another_comes_first, change=lambda: path.write_bytes(b"other")))
    assert not publish(path, b"mine again", lambda: path.read_bytes() != b"other")
    assert path.read_bytes() == b"other"


def test_a_lock_file_that_its_holder_has_just_removed_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes next makes another lock file, and must not be let in beside the one who has this."""
    lock, flock = tmp_path / "lock", fcntl.flock

    def its_holder_ends_first(descriptor: int, operation: int) -> None:
        lock.unlink()
        flock(descriptor, operation)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("fcntl.flock", its_holder_ends_first)
        assert publishing._take(lock) is None

    descriptor = publishing._take(lock)
    assert descriptor is not None
    assert publishing._take(lock) is None
    os.close(descriptor)


KILLED_WHILE_IT_DECIDES = """
import os, signal, sys
from pathlib import Path
from airflow_wan.videos.publishing import publish_file

folder = Path(sys.argv[1])
(folder / "staged").write_bytes(b"theirs")
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
publish_file(folder / "staged", folder / "film.mp4", lock=Path(sys.argv[2]), may_replace=die)
"""


def test_a_process_that_is_killed_while_it_decides_holds_up_nobody(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"earlier")
    locks: list[Path] = []
    take = publishing._take
    monkeypatch.setattr(publishing, "_take", lambda lock: (locks.append(lock), take(lock))[1])
    assert publish(path, b"first", lambda: True)

    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_IT_DECIDES, str(tmp_path), str(locks[0])], check=False)

    assert killed.returncode < 0
    assert locks[0].exists()
    assert publish(path, b"second", lambda: True)
    assert path.read_bytes() == b"second"
    assert not locks[0].exists()


def test_a_process_that_never_ends_is_not_waited_for_without_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"earlier")
    monkeypatch.setattr(publishing, "LONGEST_WAIT_S", 0.1)

    def second_comes() -> bool:
        with pytest.raises(DestinationError, match="another process has held"):
            publish(path, b"second", lambda: True)
        return True

    assert publish(path, b"first", second_comes)
    assert path.read_bytes() == b"first"


@pytest.mark.parametrize("what", ["folder", "pipe"])
def test_what_is_no_regular_file_stays(what: str, path: Path) -> None:
    (path.mkdir if what == "folder" else partial(os.mkfifo, path))()

    with pytest.raises(DestinationError, match="no regular file"):
        publish(path, b"film", lambda: True)

    assert path.exists()


def test_a_link_to_nowhere_is_replaced_like_a_file(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")

    assert publish(path, b"film", lambda: True)

    assert path.read_bytes() == b"film"
    assert not path.is_symlink()
