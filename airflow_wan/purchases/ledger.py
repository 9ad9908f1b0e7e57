"""What a task instance has bought, kept across its retries and its worker's crashes.

nothing → intent (written before the create request) → submitted (written as soon as the task id is known) → nothing,
once Airflow has recorded the task's success. There is one record a task instance, whatever its try number.

Airflow ≥ 3.3 keeps it in the task state store, earlier versions as an Airflow Variable; both survive a retry, as XCom
does not. Nothing secret is in it: both are plain text in the database and visible in the UI.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from airflow_wan.exceptions import LedgerUnreadable
from airflow_wan.redaction import identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context

RECORD_VERSION = 1
STATE_STORE_KEY = "wan_purchase"
VARIABLE_PREFIX = "wan_purchase__"


def _known(kind: type[Purchase | Order], record: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in record.items() if name in names}


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for, as far as whoever brings the video home wants to know.

    :param request: the JSON body as its author wrote it, without signatures and inline data.
    :param sources: the files it names: dicts with ``role``, ``url`` and ``digest``.
    :param seconds: length asked for, s, where it was.
    :param resolution: ``480P``, ``720P`` or ``1080P``.
    :param driven_by_audio: whether a sound track was given.
    :param estimated_usd: what it was to cost.
    """

    request: Mapping[str, Any]
    sources: Sequence[Mapping[str, Any]] = ()
    seconds: float | None = None
    resolution: str | None = None
    driven_by_audio: bool = False
    estimated_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Purchase:
    """One wish: a create request that may have been, or was, sent.

    :param fingerprint: digest of the request, `fingerprint_of`.
    :param intent_at: when it was about to be sent, unix time in s.
    :param wan_conn_id: the Airflow connection it was sent with.
    :param gateway: that connection's gateway.
    :param base_url: where it was sent.
    :param order: what was asked for; its prompt finds a lost submit again at the gateway.
    :param wan_task_id: the gateway's id, once it answered.
    :param request_id: the gateway's id of the create request.
    :param submitted_at: when it answered, unix time in s.
    """

    fingerprint: str
    intent_at: float
    wan_conn_id: str
    gateway: str
    base_url: str
    order: Order
    wan_task_id: str | None = None
    request_id: str | None = None
    submitted_at: float | None = None

    @property
    def model(self) -> str:
        """The model id."""
        return str(self.order.request["model"])

    @property
    def prompt(self) -> str:
        """The prompt, empty if there is none."""
        return str(self.order.request["input"].get("prompt") or "")

    def to_record(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"version": RECORD_VERSION, "state": "submitted" if self.wan_task_id else "intent", **asdict(self)}

    @classmethod
    def from_record(cls, record: object) -> Purchase:
        """What `to_record` wrote.

        :raises LedgerUnreadable: when it is anything else.
        """
        if not isinstance(record, dict) or record.get("version") != RECORD_VERSION:
            raise LedgerUnreadable(
                f"The ledger of this task instance holds something else than a record of version {RECORD_VERSION}."
            )
        try:
            purchase = cls(**_known(cls, record))
            order = Order(**_known(Order, record["order"]))
            return replace(purchase, order=replace(order, sources=tuple(order.sources)))
        except (TypeError, KeyError, AttributeError) as error:
            raise LedgerUnreadable(f"The ledger's record of this task instance is incomplete: {error}") from error


class Ledger(Protocol):
    """The record of one task instance."""

    where: str
    """Where a person finds the record."""

    def read(self) -> Purchase | None:
        """The record, or None if there is provably none.

        :raises LedgerUnreadable: when that cannot be told.
        """

    def write(self, purchase: Purchase) -> None:
        """Put the record.

        :raises LedgerUnreadable: when it may not have been kept.
        """

    def clear(self) -> None:
        """Remove the record.

        :raises LedgerUnreadable: when it may still be there.
        """


def open_ledger(context: Context) -> Ledger:
    """The ledger of the running task instance, in whatever its Airflow offers."""
    store: Any = context.get("task_state_store")
    instance = context["ti"]
    if store is not None:
        return TaskStateLedger(store)
    map_index = -1 if instance.map_index is None else instance.map_index
    return VariableLedger(instance.dag_id, instance.run_id, instance.task_id, map_index)


def forget_purchase(context: Context) -> None:
    """Remove the record of a task whose success Airflow has recorded; a success callback.

    Not before: a worker that is killed between the download and that moment runs again, and must find the record.
    """
    open_ledger(context).clear()


class TaskStateLedger:
    """Kept in Airflow's task state store, which is scoped to the task instance (Airflow ≥ 3.3)."""

    where = f"the task state store of this task instance, key {STATE_STORE_KEY!r}"

    def __init__(self, store: Any) -> None:
        self._store = store

    def read(self) -> Purchase | None:
        """See `Ledger.read`."""
        try:
            record = self._store.get(STATE_STORE_KEY)
        except Exception as error:
            raise LedgerUnreadable(f"The task state store cannot be read: {error}") from error
        return None if record is None else Purchase.from_record(record)

    def write(self, purchase: Purchase) -> None:
        """See `Ledger.write`."""
        from airflow.sdk.execution_time.context import NEVER_EXPIRE  # noqa: PLC0415 - only where the store exists

        try:
            self._store.set(STATE_STORE_KEY, purchase.to_record(), retention=NEVER_EXPIRE)
        except Exception as error:
            raise LedgerUnreadable(f"The task state store cannot be written: {error}") from error

    def clear(self) -> None:
        """See `Ledger.clear`."""
        try:
            self._store.delete(STATE_STORE_KEY)
        except Exception as error:
            raise LedgerUnreadable(f"The task state store cannot be written: {error}") from error


class VariableLedger:
    """Kept as an Airflow Variable of its own, for Airflow 3.0 to 3.2.

    It asks the execution API directly: ``Variable.get`` takes an API that cannot be reached for a variable that does
    not exist, and may answer from a cache.
    """

    def __init__(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> None:
        identity = "\0".join((dag_id, run_id, task_id, str(map_index)))
        self._key = VARIABLE_PREFIX + hashlib.sha256(identity.encode()).hexdigest()[:40]
        self._description = f"Wan video bought by {dag_id}.{task_id} [{map_index}] in {run_id}"
        self.where = f"the Airflow Variable {self._key}"

    def read(self) -> Purchase | None:
        """See `Ledger.read`."""
        from airflow.sdk.exceptions import ErrorType  # noqa: PLC0415 - as all imports of SDK internals in this class
        from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable, VariableResult  # noqa: PLC0415

        answer = self._send(GetVariable(key=self._key), may_be_absent=True)
        if isinstance(answer, ErrorResponse) and answer.error == ErrorType.VARIABLE_NOT_FOUND:
            return None
        if not isinstance(answer, VariableResult) or answer.value is None:
            raise LedgerUnreadable(f"{self.where} cannot be read: {answer!r}")
        try:
            record = json.loads(answer.value)
        except ValueError as error:
            raise LedgerUnreadable(f"{self.where} holds no JSON") from error
        return Purchase.from_record(record)

    def write(self, purchase: Purchase) -> None:
        """See `Ledger.write`."""
        from airflow.sdk.execution_time.comms import PutVariable  # noqa: PLC0415

        record = json.dumps(purchase.to_record())
        self._send(PutVariable(key=self._key, value=record, description=self._description))

    def clear(self) -> None:
        """See `Ledger.clear`."""
        from airflow.sdk.execution_time.comms import DeleteVariable  # noqa: PLC0415

        self._send(DeleteVariable(key=self._key))

    def _send(self, message: Any, *, may_be_absent: bool = False) -> Any:
        from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType  # noqa: PLC0415
        from airflow.sdk.execution_time import task_runner  # noqa: PLC0415
        from airflow.sdk.execution_time.comms import ErrorResponse  # noqa: PLC0415

        try:
            answer = task_runner.SUPERVISOR_COMMS.send(message)
        except AirflowRuntimeError as error:
            answer = error.error
        except Exception as error:
            raise LedgerUnreadable(f"{self.where} cannot be reached: {error}") from error
        absent = isinstance(answer, ErrorResponse) and answer.error == ErrorType.VARIABLE_NOT_FOUND
        if isinstance(answer, ErrorResponse) and not (absent and may_be_absent):
            raise LedgerUnreadable(f"{self.where} cannot be reached: {answer.error}")
        return answer


def fingerprint_of(body: Mapping[str, Any]) -> str:
    """Digest of a request body. What signs a URL does not count: it differs at every rendering."""
    text = json.dumps(identity(body), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
