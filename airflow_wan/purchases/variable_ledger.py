"""A purchase record as an Airflow Variable (Airflow 3.0 to 3.2).

Each try writes a Variable of its own and reads those of the tries before it. A Variable belongs to no task instance, so
Airflow would let a try that is over write it, too; in this way such a try cannot change what a later one has written.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time.comms import DeleteVariable, ErrorResponse, GetVariable, PutVariable, VariableResult

from airflow_wan.exceptions import LedgerUnreadable
from airflow_wan.purchases.record import Intent, Purchase, read_record
from airflow_wan.purchases.supervisor import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE_PREFIX = "wan_purchase__"


class VariableLedger:
    """See `Ledger`.

    It asks Airflow's execution API directly. ``Variable.get`` takes an API that cannot be reached for a variable that
    does not exist, and may answer from a cache.

    :param dag_id: the DAG of the task instance.
    :param run_id: its DAG run.
    :param task_id: its task.
    :param map_index: its map index, -1 if it is not mapped.
    :param try_number: the number of the try that opens the ledger.
    """

    def __init__(self, dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int = 1) -> None:
        identity = "\0".join((dag_id, run_id, task_id, str(map_index)))
        self._prefix = VARIABLE_PREFIX + hashlib.sha256(identity.encode()).hexdigest()[:40]
        self._try_number = max(1, try_number)
        self._description = f"Wan video bought by {dag_id}.{task_id} [{map_index}] in {run_id}, try {try_number}"
        self.where = f"each Airflow Variable whose key begins with {self._prefix}"

    def read(self) -> Intent | Purchase | None:
        """Return the record of the latest try that left one; see `Ledger.read`."""
        for key in self._keys():
            record = self._read(key)
            if record is not None:
                return record
        return None

    def write(self, record: Intent | Purchase) -> None:
        """See `Ledger.write`."""
        value = json.dumps(record.to_record())
        own_key = next(self._keys())
        self._send(PutVariable(key=own_key, value=value, description=self._description))

    def clear(self, *, own_only: bool = False) -> None:
        """Remove the records of this try and of those before it; see `Ledger.clear`."""
        own, *earlier = self._keys()
        for key in (*reversed(() if own_only else earlier), own):  # a try that is killed here leaves the latest one
            self._send(DeleteVariable(key=key))

    def _keys(self) -> Iterator[str]:
        """Yield the keys of this try and of those before it, the latest first."""
        for try_number in range(self._try_number, 0, -1):
            yield f"{self._prefix}__{try_number}"

    def _read(self, key: str) -> Intent | Purchase | None:
        answer = self._send(GetVariable(key=key), may_be_absent=True)
        if isinstance(answer, ErrorResponse) and answer.error == ErrorType.VARIABLE_NOT_FOUND:
            return None
        if not isinstance(answer, VariableResult) or answer.value is None:
            raise LedgerUnreadable(f"The Airflow Variable {key} cannot be read: {type(answer).__name__}")
        try:
            record = json.loads(answer.value)
        except (ValueError, RecursionError):
            raise LedgerUnreadable(f"The Airflow Variable {key} does not hold JSON") from None
        return read_record(record)

    def _send(self, message: Any, *, may_be_absent: bool = False) -> Any:
        answer = ask(message)
        absent = isinstance(answer, ErrorResponse) and answer.error == ErrorType.VARIABLE_NOT_FOUND
        if isinstance(answer, ErrorResponse) and not (absent and may_be_absent):
            raise LedgerUnreadable(f"The Airflow Variable {self._prefix}… cannot be reached: {answer.error}")
        return answer
