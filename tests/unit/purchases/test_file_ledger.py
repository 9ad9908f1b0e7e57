"""The purchase record in a file beside the video."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airflow_wan.exceptions import DestinationError, LedgerUnreadable
from airflow_wan.purchases.file_ledger import FileLedger
from airflow_wan.purchases.record import Intent, Order, Purchase

if TYPE_CHECKING:
    from pathlib import Path

ORDER = Order(request={"model": "wan2.7-t2v", "input": {"prompt": "云"}, "parameters": {}}, sources=[])
INTENT = Intent("f", 1_800_000_000.0, "key", "dashscope", "https://dashscope.aliyuncs.com", ORDER, "nonce")
PURCHASE = Purchase(INTENT, "task-1", "request-1", 1_800_000_001.0)


def test_what_is_written_is_read_by_the_next_process(tmp_path: Path) -> None:
    video = tmp_path / "out.mp4"
    with FileLedger(video) as ledger:
        assert ledger.read() is None
        ledger.write(INTENT)
        assert ledger.read() == INTENT
        ledger.write(PURCHASE)

    with FileLedger(video) as ledger:
        assert ledger.read() == PURCHASE
        ledger.check_is_running()
        ledger.clear()
        assert ledger.read() is None

    assert list(tmp_path.iterdir()) == []


def test_one_process_has_it_at_a_time(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from airflow_wan.purchases.file_ledger import FileLedger\n"
        "with FileLedger(Path(sys.argv[1])): pass"
    )
    with FileLedger(tmp_path / "out.mp4"):
        other = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "out.mp4")], capture_output=True, text=True, check=False
        )

    assert other.returncode == 1
    assert "LedgerUnreadable: Another process" in other.stderr
    with FileLedger(tmp_path / "out.mp4"):
        pass


def test_who_has_lost_its_lock_does_not_count(tmp_path: Path) -> None:
    with FileLedger(tmp_path / "out.mp4") as ledger:
        (tmp_path / ".out.mp4.purchase.json.lock").unlink()

        with pytest.raises(LedgerUnreadable, match="was removed"):
            ledger.check_is_running()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version": 2}', b'{"version": 1, "state": "intent"}', b"\xff", b"[" * 2_000_000]
)
def test_a_file_that_is_no_record_is_never_taken_for_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "out.mp4.purchase.json").write_bytes(content)

    with FileLedger(tmp_path / "out.mp4") as ledger, pytest.raises(LedgerUnreadable):
        ledger.read()


def test_a_folder_in_its_place_is_never_taken_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "out.mp4.purchase.json").mkdir()

    with FileLedger(tmp_path / "out.mp4") as ledger:
        for use in (ledger.read, lambda: ledger.write(INTENT), ledger.clear):
            with pytest.raises(LedgerUnreadable):
                use()


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)

    with pytest.raises(LedgerUnreadable, match="has no locks"), FileLedger(tmp_path / "out.mp4"):
        pass


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="too long"), FileLedger(tmp_path / f"{'x' * 245}.mp4"):
        pass
