"""The record of a purchase, in each of the places it may be kept, and what counts as no record."""

from __future__ import annotations

import json
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_wan.exceptions import LedgerUnreadable
from airflow_wan.purchases.ledger import open_ledger
from airflow_wan.purchases.record import (
    RECORD_VERSION,
    STATE_STORE_KEY,
    Intent,
    Order,
    Purchase,
    intent_of,
    read_record,
)
from airflow_wan.purchases.submitted_order import find_order
from airflow_wan.purchases.variable_ledger import VariableLedger

if TYPE_CHECKING:
    from airflow_wan.purchases.ledger import Ledger

INTENT = Intent(
    fingerprint="f" * 64,
    intent_at=1_800_000_000.25,
    wan_conn_id="wan_default",
    gateway="apiyi",
    base_url="https://api.apiyi.com",
    order=Order(
        request={"model": "wan2.7-i2v", "input": {"prompt": "一个少年"}, "parameters": {"seed": 7}},
        sources=[{"role": "first_frame", "url": "https://cdn.example.com/a.png", "digest": None}],
        seconds=5,
        resolution="720P",
        reservations=["runs/films/monday/00ff.00ff.200000", "months/2026-11/00ff.00fe.200000"],
    ),
)

PURCHASE = Purchase(INTENT, wan_task_id="abc", request_id="r-1", submitted_at=1_800_000_001.0)


FORGED: list[dict[str, Any]] = [
    {"wan_task_id": 7},
    {"wan_task_id": ["abc"]},
    {"wan_task_id": ""},
    {"wan_task_id": None},
    {"wan_task_id": "half a character \ud83d"},
    {"submitted_at": "yesterday"},
    {"submitted_at": -62135596800.0},  # the year 1
    {"submitted_at": 1e300},
    {"submitted_at": True},
    {"intent_at": None},
    {"intent_at": float("nan")},
    {"intent_at": 10**400},
    {"wan_conn_id": {"id": "wan_default"}},
    {"gateway": "another"},
    {"gateway": ["apiyi"]},
    {"base_url": 5},
    {"fingerprint": None},
    {"nonce": 5},
    {"request_id": {"a": 1}},
]
FORGED_ORDERS: list[dict[str, Any]] = [
    {"request": "text"},
    {"request": {"model": 7, "input": {}}},
    {"request": {"model": "wan2.7-i2v", "input": ["prompt"]}},
    {"request": {"model": "wan2.7-i2v", "input": {}, "parameters": [1]}},
    {"reservations": ["../secrets/00ff.00ff.200000"]},
    {"reservations": "runs/films/monday/00ff.00ff.200000"},
    {"sources": "text"},
    {"sources": [{"role": "first_frame"}]},
    {"sources": [{"role": "first_frame", "url": "a.png", "digest": 5}]},
    {"seconds": "five"},
    {"resolution": 720},
    {"driven_by_audio": "yes"},
    {"estimated_usd": [1]},
]


@pytest.fixture(params=["task state store", "variable"])
def ledger(request: pytest.FixtureRequest, runner: Any) -> Ledger:
    """Both end in the runner's store."""
    if request.param == "variable":
        return VariableLedger("films", "r1", "animate", -1)
    from airflow.sdk.execution_time import context

    if not hasattr(context, "NEVER_EXPIRE"):
        pytest.skip("this Airflow has no task state store")
    from airflow_wan.purchases.task_state_ledger import TaskStateLedger

    return TaskStateLedger(runner.store)


@pytest.mark.parametrize("record", [INTENT, PURCHASE], ids=["intent", "purchase"])
def test_what_is_written_is_read(ledger: Ledger, record: Intent | Purchase) -> None:
    assert ledger.read() is None
    ledger.write(record)
    assert ledger.read() == record
    ledger.clear()
    assert ledger.read() is None


@pytest.mark.parametrize("record", [INTENT, PURCHASE], ids=["intent", "purchase"])
def test_what_is_read_can_be_written_as_it_is(ledger: Ledger, record: Intent | Purchase) -> None:
    ledger.write(record)
    read = ledger.read()
    assert read is not None
    plain = read.to_record()
    ledger.write(read)

    assert plain == json.loads(json.dumps(plain))
    assert ledger.read() == record


@pytest.mark.parametrize("record", [INTENT, PURCHASE], ids=["intent", "purchase"])
def test_airflows_own_store_takes_what_was_read_from_it_and_completed_by_a_rescue(
    ledger: Ledger, record: Intent | Purchase
) -> None:
    """By the models that Airflow's task and its API server validate with, the second of which reads JSON."""
    comms = pytest.importorskip("airflow.sdk.execution_time.comms")
    bodies = pytest.importorskip("airflow.api_fastapi.execution_api.datamodels.task_state_store")
    ledger.write(record)
    read = ledger.read()
    assert read is not None
    rescued = Purchase(intent_of(read), "found in the list", request_id=None, submitted_at=intent_of(read).intent_at)

    for written in (read, rescued):
        message = comms.SetTaskStateStore(
            ti_id=uuid.uuid4(), key=STATE_STORE_KEY, value=written.to_record(), expires_at=None
        )
        body = bodies.TaskStateStorePutBody.model_validate_json(json.dumps({"value": message.model_dump()["value"]}))
        assert read_record(body.value) == written


def test_an_order_tells_the_model_and_the_prompt() -> None:
    assert (INTENT.order.model, INTENT.order.prompt) == ("wan2.7-i2v", "一个少年")


def test_a_record_says_how_far_the_purchase_came() -> None:
    assert (INTENT.to_record()["state"], PURCHASE.to_record()["state"]) == ("intent", "submitted")
    assert read_record(PURCHASE.to_record() | {"from_a_newer_version": 1}) == PURCHASE


@pytest.mark.parametrize(
    "record",
    [
        "text",
        3,
        [],
        {},
        {"version": RECORD_VERSION + 1},
        {"version": RECORD_VERSION, "gateway": "x"},
        INTENT.to_record() | {"order": None},
        INTENT.to_record() | {"order": {}},
        INTENT.to_record() | {"state": "submitted"},
        INTENT.to_record() | {"state": "bought"},
        *(PURCHASE.to_record() | forged for forged in FORGED),
        *(PURCHASE.to_record() | {"order": PURCHASE.to_record()["order"] | forged} for forged in FORGED_ORDERS),
    ],
)
def test_a_record_that_is_not_understood_is_not_taken_for_none(ledger: Ledger, runner: Any, record: Any) -> None:
    ledger.write(INTENT)
    runner.store.replace_record(record)

    with pytest.raises(LedgerUnreadable):
        ledger.read()


@pytest.mark.parametrize("method", ["read", "write", "clear"])
def test_a_store_that_cannot_be_reached_is_not_taken_for_empty(ledger: Ledger, runner: Any, method: str) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("the API server is away")

    for name in ("get", "set", "delete"):
        setattr(runner.store, name, unreachable)

    with pytest.raises(LedgerUnreadable, match="the API server is away"):
        getattr(ledger, method)(*([INTENT] if method == "write" else []))


@pytest.mark.parametrize("answer", [ErrorType.GENERIC_ERROR, ErrorType.API_SERVER_ERROR])
@pytest.mark.parametrize("raised", [True, False])
def test_an_error_of_the_api_is_not_taken_for_an_absent_variable(
    answer: Any, raised: bool, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.execution_time import task_runner

    def send(_message: Any) -> Any:
        error = ErrorResponse(error=answer, detail=None)
        if raised:
            raise AirflowRuntimeError(error)
        return error

    monkeypatch.setattr(task_runner.SUPERVISOR_COMMS, "send", send)

    with pytest.raises(LedgerUnreadable):
        VariableLedger("films", "r1", "animate", -1).read()


def test_without_a_task_state_store_the_record_is_a_variable(runner: Any) -> None:
    opened = open_ledger(cast("Any", {"ti": runner.instance}))

    instance = runner.instance
    assert isinstance(opened, VariableLedger)
    assert opened.where == VariableLedger(instance.dag_id, instance.run_id, instance.task_id, -1).where


@pytest.mark.parametrize("left", [{"wan_task_id": "abc", "version": 0}, ConnectionError("the XCom back end is away")])
def test_an_order_that_cannot_be_read_is_told_and_keeps_no_video_from_landing(
    left: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def pull(**_: Any) -> Any:
        if isinstance(left, Exception):
            raise left
        return left

    submit = SimpleNamespace(task_id="submit", leaves_wan_order=True)
    task = SimpleNamespace(has_dag=lambda: True, get_flat_relatives=lambda *, upstream: [submit] if upstream else [])
    context: Any = {"ti": SimpleNamespace(map_index=None, xcom_pull=pull), "task": task}

    assert find_order(context, "abc") is None
    assert "compared with nothing" in caplog.text


def test_each_task_instance_has_a_variable_of_its_own() -> None:
    identities: list[tuple[str, str, str, int]] = [
        ("a", "r", "t", -1),
        ("a", "r", "t", 0),
        ("a", "r", "t2", -1),
        ("a", "r2", "t", -1),
        ("a2", "r", "t", -1),
    ]

    assert len({VariableLedger(*identity).where for identity in identities}) == len(identities)


def test_a_record_has_these_fields_and_no_room_for_secrets() -> None:
    assert set(PURCHASE.to_record()) == {
        "version",
        "state",
        "fingerprint",
        "intent_at",
        "wan_conn_id",
        "gateway",
        "base_url",
        "order",
        "nonce",
        "wan_task_id",
        "request_id",
        "submitted_at",
    }
