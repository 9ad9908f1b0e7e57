"""Budgets whose reservations are in an object store: tasks that start together, and what people find there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import submitting_processes

from airflow_wan.exceptions import BudgetExceeded, LedgerUnreadable
from airflow_wan.purchases.budget import Stage, open_budgets, reserve
from airflow_wan.purchases.reservation_store import FolderInStore
from airflow_wan.purchases.this_try import ThisTry

if TYPE_CHECKING:
    from oss_server import OssServer

    from airflow_wan.emulator.testing import RunningEmulator

BUCKET = "films"
A_VIDEO = 0.2


@pytest.fixture
def base(s3: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"s3://aws_default@{BUCKET}/wan"
    monkeypatch.setenv("AIRFLOW__WAN__BUDGET_BASE", uri)
    return uri


def this_try(map_index: int) -> ThisTry:
    return ThisTry("films", "monday", "animate", map_index, None)


def test_a_folder_lists_what_others_have_written_since(s3: Any) -> None:
    one, other = (FolderInStore(f"s3://aws_default@{BUCKET}/wan/runs/a") for _ in range(2))
    assert one.names() == other.names() == []

    one.add("x.pending.json", b"{}")
    assert other.names() == ["x.pending.json"]
    other.add("x.granted.json", b"{}")
    assert sorted(one.names()) == ["x.granted.json", "x.pending.json"]
    one.remove("x.pending.json")
    one.remove("x.pending.json")

    assert other.names() == ["x.granted.json"]


def test_tasks_that_start_at_the_same_moment_buy_what_the_budget_has_room_for(
    base: str, s3: Any, wan_emulator: RunningEmulator, tmp_path: Path
) -> None:
    environment = os.environ | {
        "AIRFLOW__WAN__MAX_COST_PER_DAG_RUN": str(A_VIDEO),
        "PYTHONPATH": os.pathsep.join([str(Path(submitting_processes.__file__).parent), *sys.path]),
    }

    subprocess.run(
        [sys.executable, submitting_processes.__file__, wan_emulator.base_url, str(tmp_path), "2"],
        env=environment,
        check=True,
        timeout=150,
    )

    outcomes = [json.loads(path.read_text()) for path in tmp_path.glob("*.outcome.json")]
    (error,) = [outcome["error"] for outcome in outcomes if "error" in outcome]
    assert len(wan_emulator.ledger()) == 1
    assert error.startswith("BudgetExceeded")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert sorted(key.split(".")[-2] for key in keys) == ["bought", "granted", "pending"]
    assert all(key.startswith("wan/runs/films/manual__2026-11-22T00_00_00_00_00-") for key in keys)


def test_many_threads_share_a_month(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__MAX_COST_PER_MONTH", "1")
    outcomes: list[Any] = []
    start = threading.Barrier(8)

    def buy(number: int) -> None:
        start.wait()
        while len(outcomes) < 8:
            try:
                outcomes.append(reserve(this_try(number), A_VIDEO, uncertain=None, unbilled=None))
            except BudgetExceeded as error:
                outcomes.append(error)
            except LedgerUnreadable:  # moto may leave a key out of a list while it takes another one: the next try
                continue
            return

    threads = [threading.Thread(target=buy, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (budget,) = open_budgets(this_try(0))
    held = [outcome for outcome in outcomes if not isinstance(outcome, BudgetExceeded)]
    assert len(outcomes) == 8
    assert len(held) == 5
    assert [one.stage for one in budget.reservations.read()] == [Stage.GRANTED] * 5


def test_a_store_that_is_away_lets_nothing_be_bought(base: str, wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__MAX_COST_PER_MONTH", "1")
    wire.cut_after(0)

    with pytest.raises(LedgerUnreadable, match="cannot be read or written"):
        reserve(this_try(0), A_VIDEO, uncertain=None, unbilled=None)


def test_alibabas_store_holds_a_budget_too(oss: OssServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__BUDGET_BASE", f"oss://oss_default@{BUCKET}/wan")
    monkeypatch.setenv("AIRFLOW__WAN__MAX_COST_PER_DAG_RUN", "0.3")

    held = reserve(this_try(0), A_VIDEO, uncertain=None, unbilled=None)
    with pytest.raises(BudgetExceeded):
        reserve(this_try(1), A_VIDEO, uncertain=None, unbilled=None)
    held.give_back()
    reserve(this_try(1), A_VIDEO, uncertain=None, unbilled=None)
