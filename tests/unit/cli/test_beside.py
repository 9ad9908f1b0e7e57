"""The videos of one folder do not take each other's Wan tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_wan.cli.beside import Neighbours, in_folder
from airflow_wan.exceptions import DestinationError, LedgerUnreadable
from airflow_wan.purchases.file_ledger import FileLedger
from airflow_wan.purchases.record import Intent, Order, Purchase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_wan.exceptions import WanError

ORDER = Order(request={"model": "wan2.7-t2v", "input": {"prompt": "Rain."}, "parameters": {}}, sources=[])


def intent(nonce: str) -> Intent:
    return Intent("f", 1_800_000_000.0, "key", "dashscope", "https://dashscope.aliyuncs.com", ORDER, nonce)


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[FileLedger]:
    """The record of a create request whose answer was lost."""
    with FileLedger(tmp_path / "a.mp4") as ledger:
        ledger.write(intent("a"))
        yield ledger


def test_a_task_that_nobody_has_is_written_down(tmp_path: Path, lost: FileLedger) -> None:
    assert Neighbours(lost, tmp_path / "a.mp4").claim("task-1")

    assert lost.read() == Purchase(intent("a"), "task-1", None, intent("a").intent_at)


def test_a_task_that_a_neighbour_has_is_left_to_it(tmp_path: Path, lost: FileLedger) -> None:
    with FileLedger(tmp_path / "b.mp4") as other:
        other.write(Purchase(intent("b"), "task-1", None, 1_800_000_001.0))
    neighbours = Neighbours(lost, tmp_path / "a.mp4")

    assert neighbours.held() == ["task-1"]
    assert not neighbours.claim("task-1")
    assert lost.read() == intent("a")


@pytest.mark.parametrize(
    ("name", "error"), [("b.mp4.purchase.json", LedgerUnreadable), ("b.mp4.json", DestinationError)]
)
def test_nothing_is_claimed_beside_a_record_that_cannot_be_read(
    name: str, error: type[WanError], tmp_path: Path, lost: FileLedger
) -> None:
    (tmp_path / name).symlink_to(name)  # a loop, which nobody can read
    neighbours = Neighbours(lost, tmp_path / "a.mp4")

    with pytest.raises(error):
        neighbours.claim("task-1")

    assert lost.read() == intent("a")
    assert [found.video.name for found in in_folder(tmp_path)] == ["a.mp4"]


def test_of_two_that_claim_one_task_at_least_one_sees_the_other(tmp_path: Path, lost: FileLedger) -> None:
    with FileLedger(tmp_path / "b.mp4") as other:
        other.write(intent("b"))
        first = Neighbours(lost, tmp_path / "a.mp4").claim("task-1")
        second = Neighbours(other, tmp_path / "b.mp4").claim("task-1")

    assert (first, second) == (True, False)
