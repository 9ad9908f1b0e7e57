"""A temporary file belongs to the process that made it, and is removed only when that process is surely gone."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.exceptions import DestinationError
from airflow_wan.videos import staging
from airflow_wan.videos.destination import Destination
from airflow_wan.videos.staging import ABANDONED_AFTER_S, staged_file

if TYPE_CHECKING:
    from collections.abc import Iterator

# Writes half a file, tells its name, and ends when it may, or when it is killed.
OTHER_WORKER = """
import sys
from pathlib import Path
from airflow_wan.videos.staging import staged_file

with staged_file(Path(sys.argv[1]), sys.argv[2], ".part") as staged:
    staged.write_bytes(b"half a fi")
    print(staged, flush=True)
    sys.stdin.read()
    print(staged.read_bytes(), flush=True)
"""


@contextmanager
def other_worker(folder: Path, prefix: str = ".film.") -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that is downloading, and its temporary file."""
    command = [sys.executable, "-c", OTHER_WORKER, str(folder), prefix]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        try:
            yield worker, Path(worker.stdout.readline().strip())
        finally:
            worker.kill()


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_download_of_another_process_is_left_alone(tmp_path: Path) -> None:
    with other_worker(tmp_path) as (worker, theirs):
        age(theirs, 2 * ABANDONED_AFTER_S)  # it is old, and its process lives

        with staged_file(tmp_path, ".film.", ".part") as ours:
            assert theirs.exists()
            assert ours != theirs

        told, _ = worker.communicate()

    assert told.strip() == repr(b"half a fi")
    assert list(tmp_path.iterdir()) == []


def test_the_next_process_removes_what_a_killed_one_left_behind(tmp_path: Path) -> None:
    with other_worker(tmp_path) as (worker, theirs), other_worker(tmp_path, ".film2.") as (second, of_another_video):
        for killed in (worker, second):
            killed.kill()
            killed.wait()

        with staged_file(tmp_path, ".film.", ".part") as ours:
            assert not theirs.exists()
            assert set(tmp_path.iterdir()) == {ours, of_another_video}


@pytest.mark.parametrize(
    ("age_s", "is_kept"), [(0.0, True), (ABANDONED_AFTER_S - 60, True), (ABANDONED_AFTER_S + 60, False)]
)
def test_what_another_machine_left_behind_is_removed_by_its_age(age_s: float, is_kept: bool, tmp_path: Path) -> None:
    theirs = tmp_path / ".film.0badcafe.abcdefgh.part"
    theirs.write_bytes(b"half a fi")
    age(theirs, age_s)

    with staged_file(tmp_path, ".film.", ".part"):
        assert theirs.exists() is is_kept


def test_where_a_file_system_has_no_locks_only_age_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with staged_file(tmp_path, ".film.", ".part") as young, staged_file(tmp_path, ".film.", ".part") as old:
        age(old, ABANDONED_AFTER_S + 60)
        with staged_file(tmp_path, ".film.", ".part"):
            assert young.exists()
            assert not old.exists()


def test_a_file_that_is_taken_for_abandoned_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, taken = fcntl.flock, []

    def another_process_comes_first(descriptor: int, operation: int) -> None:
        if not taken:
            taken.extend(tmp_path.iterdir())
            staging.remove_abandoned(tmp_path, ".film.", ".part")
        flock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", another_process_comes_first)

    with staged_file(tmp_path, ".film.", ".part") as ours:
        assert len(taken) == 1
        assert not taken[0].exists()
        assert list(tmp_path.iterdir()) == [ours]


@pytest.mark.parametrize("what", ["link", "folder", "pipe"])
def test_what_only_has_such_a_name_is_left_alone(what: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    named_so = tmp_path / ".film.0badcafe.abcdefgh.part"
    if what == "link":
        named_so.symlink_to(precious)
    elif what == "folder":
        named_so.mkdir()
    else:
        os.mkfifo(named_so)

    with staged_file(tmp_path, ".film.", ".part"):
        assert named_so.exists()

    assert precious.read_bytes() == b"precious"


def test_a_download_for_a_store_is_staged_on_local_disk_and_removed_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    destination = Destination("s3://bucket/film.mp4")
    with destination.staging() as staged:
        prefix = staged.name.rsplit(".", 3)[0] + "."
        assert staged.suffix == ".mp4"
    left = tmp_path / f"{prefix}{staging._machine()}.abcdefgh.mp4"
    left.write_bytes(b"half a fi")

    with destination.staging() as staged:
        assert list(tmp_path.iterdir()) == [staged]


@pytest.mark.parametrize("uri", ["s3://bucket/film." + "x" * 300, "s3://bucket/" + "字" * 300])
def test_a_long_object_name_can_be_staged(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with Destination(uri).staging() as staged:
        assert staged.exists()


def test_a_folder_that_is_gone_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), staged_file(tmp_path / "gone", ".film.", ".part"):
        pass
    with pytest.raises(DestinationError):
        Destination(str(tmp_path / "gone" / "film.mp4")).write(b"record")
