"""A purchase record as an Airflow Variable of its own (Airflow 3.0 to 3.2)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import DeleteVariable, ErrorResponse, GetVariable, PutVariable, VariableResult

from airflow_wan.exceptions import LedgerUnreadable
from airflow_wan.purchases.record import Intent, Purchase, read_record

VARIABLE_PREFIX = "wan_purchase__"


class VariableLedger:
    """See `Ledger`.

    It asks Airflow's execution API directly. ``Variable.get`` takes an API that cannot be reached for a variable that
    does not exist, and may answer from a cache.

    :param dag_id: the DAG of the task instance.
    :param run_id: its DAG run.
    :param task_id: its task.
    :param map_index: its map index, -1 if it is not mapped.
    """

    def __init__(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> None:
        identity = "\0".join((dag_id, run_id, task_id, str(map_index)))
        self._key = VARIABLE_PREFIX + hashlib.sha256(identity.encode()).hexdigest()[:40]
        self._description = f"Wan video bought by {dag_id}.{task_id} [{map_index}] in {run_id}"
        self.where = f"the Airflow Variable {self._key}"

    def read(self) -> Intent | Purchase | None:
        """See `Ledger.read`."""
        answer = self._send(GetVariable(key=self._key), may_be_absent=True)
        if isinstance(answer, ErrorResponse) and answer.error == ErrorType.VARIABLE_NOT_FOUND:
            return None
        if not isinstance(answer, VariableResult) or answer.value is None:
            raise LedgerUnreadable(f"{self.where} cannot be read: {answer!r}")
        try:
            record = json.loads(answer.value)
        except ValueError as error:
            raise LedgerUnreadable(f"{self.where} does not hold JSON") from error
        return read_record(record)

    def write(self, record: Intent | Purchase) -> None:
        """See `Ledger.write`."""
        value = json.dumps(record.to_record())
        self._send(PutVariable(key=self._key, value=value, description=self._description))

    def clear(self) -> None:
        """See `Ledger.clear`."""
        self._send(DeleteVariable(key=self._key))

    def _send(self, message: Any, *, may_be_absent: bool = False) -> Any:
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
