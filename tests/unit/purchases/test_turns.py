"""Turns: who wants to send a create request takes the next free one, whatever process or thread it is in."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.api.gateways import DASHSCOPE, Account
from airflow_wan.net.file_locks import try_lock
from airflow_wan.purchases import turns

if TYPE_CHECKING:
    from pathlib import Path

ACCOUNT = Account(DASHSCOPE, "https://dashscope.example", "sk-turns-0123456789")
MODEL = "wan2.7-i2v"

TAKE_TURNS = f"""
import json, time
from airflow_wan.api.gateways import DASHSCOPE, Account
from airflow_wan.purchases import turns
turns.time.sleep = lambda seconds: moments.append(time.monotonic() + seconds) if seconds > 0.011 else None
moments = []
for _ in range(20):
    turns.wait_for_turn(Account(DASHSCOPE, {ACCOUNT.base_url!r}, {ACCOUNT.api_key!r}), {MODEL!r}, per_second=0.5,
        longest_s=1e6)
print(json.dumps(moments))
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The temporary folder of this test and its processes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, in seconds; nothing sleeps but whoever waits for another's lock, for it is held in real time."""
    made: list[float] = []
    sleep = time.sleep

    def note(seconds: float) -> None:
        made.append(seconds)
        if seconds == turns.LOCK_PAUSE_S:
            sleep(seconds)

    monkeypatch.setattr(turns.time, "sleep", note)
    return made


def wait(model: str = MODEL, account: Account = ACCOUNT, longest_s: float = 1000.0, per_second: float = 0.5) -> None:
    turns.wait_for_turn(account, model, per_second=per_second, longest_s=longest_s)


def only_file(folder: Path) -> Path:
    (file,) = (path for path in folder.rglob("*") if path.is_file())
    return file


def test_turns_follow_each_other_and_the_first_one_is_now(slept: list[float]) -> None:
    for _ in range(4):
        wait()

    assert slept == [pytest.approx(2.0, abs=0.5), pytest.approx(4.0, abs=0.5), pytest.approx(6.0, abs=0.5)]


def test_each_account_and_each_model_has_turns_of_its_own(slept: list[float]) -> None:
    wait()
    wait(model="wan2.7-t2v")
    wait(account=Account(DASHSCOPE, ACCOUNT.base_url, "sk-another-0123456789"))
    wait(account=Account(DASHSCOPE, "https://dashscope-intl.example", ACCOUNT.api_key))

    assert slept == []


def test_no_turns_are_taken_where_there_is_no_limit(slept: list[float], folder: Path) -> None:
    wait(per_second=0)

    assert slept == []
    assert list(folder.iterdir()) == []


def test_nobody_waits_longer_than_its_own_time(slept: list[float]) -> None:
    wait()
    wait(longest_s=0.25)

    assert slept == [0.25]


def test_a_long_wait_is_told(slept: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    wait(per_second=0.1)
    assert caplog.text == ""
    wait(per_second=0.1)

    assert "10 s until this create request is sent" in caplog.text
    assert "holds a worker slot" in caplog.text
    assert len(slept) == 1


def test_processes_share_the_turns(folder: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", TAKE_TURNS], stdout=subprocess.PIPE, env=dict(os.environ), text=True)
        for _ in range(3)
    ]
    moments = sorted(moment for process in processes for moment in json.loads(process.communicate()[0]))

    assert len(moments) == 59  # the first turn of all is at once
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    # A moment is read a little later than its turn is taken.
    assert sum(gaps) / len(gaps) == pytest.approx(2.0, abs=0.2)
    assert min(gaps) > 0.5


def test_threads_share_the_turns(slept: list[float]) -> None:
    threads = [threading.Thread(target=wait, kwargs={"per_second": 0.02}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    waits = sorted(second for second in slept if second > turns.LOCK_PAUSE_S)
    assert [round(second / 50) for second in waits] == list(range(1, 8))


@pytest.mark.parametrize("text", [b"", b"nan", b"inf", b"-1e9", b"1e300", b"\xff\x00", b"x" * 5000, b"0" * 64])
def test_a_file_with_anything_in_it_makes_nobody_wait(text: bytes, slept: list[float], folder: Path) -> None:
    wait()
    only_file(folder).write_bytes(text)
    wait()
    assert slept == []
    wait()  # and it is in use again
    assert slept == [pytest.approx(2.0, abs=0.5)]


def test_a_turn_from_before_the_machine_started_makes_nobody_wait(slept: list[float], folder: Path) -> None:
    wait()
    only_file(folder).write_text(f"{time.monotonic() + turns.LONGEST_LINE_S + 60:.6f}")
    wait()

    assert slept == []


def test_a_frozen_process_holds_up_nobody_for_long(slept: list[float], folder: Path) -> None:
    wait()
    with only_file(folder).open("r+b") as frozen:
        assert try_lock(frozen.fileno())
        wait()

    assert slept == [turns.LOCK_PAUSE_S] * turns.LOCK_ATTEMPTS


def test_a_link_in_the_place_of_the_file_is_not_followed(slept: list[float], folder: Path) -> None:
    wait()
    file = only_file(folder)
    target = folder / "precious.txt"
    target.write_text("precious")
    file.unlink()
    file.symlink_to(target)
    wait()

    assert target.read_text() == "precious"
    assert slept == []


@pytest.mark.parametrize("make", ["link", "file", "nothing"])
def test_a_temporary_folder_that_is_no_good_stops_nobody(
    make: str, slept: list[float], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder / f"airflow_wan-creates-{os.getuid()}"
    if make == "link":
        (folder / "elsewhere").mkdir()
        place.symlink_to(folder / "elsewhere")
    elif make == "file":
        place.write_text("")
    else:
        monkeypatch.setattr("tempfile.tempdir", str(folder / "missing"))
    wait()
    wait()

    assert slept == []
    assert not any(path.is_file() for path in (folder / "elsewhere").glob("*"))


def test_the_key_is_in_no_name_and_no_file(folder: Path) -> None:
    wait()

    file = only_file(folder)
    assert "turns-0123" not in str(file) + file.read_text()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_file_system_without_locks_makes_nobody_wait(slept: list[float], monkeypatch: Any) -> None:
    monkeypatch.setattr(turns, "try_lock", lambda _descriptor: None)
    wait()
    wait()

    assert slept == []
