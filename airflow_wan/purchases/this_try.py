"""Asks Airflow whether the running try is still the one that counts.

A try whose worker was frozen does not know that Airflow has given it up and started another one: when it wakes up, it
goes on for up to half a minute, until its next heartbeat is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse, GetTaskStates, TaskStatesResult, ValidateInletsAndOutlets

from airflow_wan.exceptions import LedgerUnreadable
from airflow_wan.purchases.siblings import map_index_of
from airflow_wan.purchases.supervisor import ask

if TYPE_CHECKING:
    from uuid import UUID

    from airflow.providers.common.compat.sdk import Context

_NO_SUCH_TRY = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE)


@dataclass(frozen=True, slots=True)
class ThisTry:
    """The try of a task instance that runs in this process.

    :param dag_id: its DAG.
    :param run_id: its DAG run.
    :param task_id: its task.
    :param map_index: its map index, -1 if it is not mapped.
    :param ti_id: Airflow's id of the try: each try of a task instance has another one. None where there is no Airflow
        that could be asked.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    ti_id: UUID | None

    @classmethod
    def of(cls, context: Context) -> Self:
        """Return the try of a running task."""
        instance = context["ti"]
        ti_id: Any = getattr(instance, "id", None)
        return cls(instance.dag_id, instance.run_id, instance.task_id, map_index_of(instance), ti_id)

    def check_is_running(self) -> None:
        """Return if Airflow says that this try runs. It is asked twice, by requests that change nothing.

        :raises LedgerUnreadable: when the try is over, or Airflow cannot say.
        """
        if self.ti_id is None:
            return
        state = self._state()
        if state not in (None, "running"):
            raise _is_over(f"its state is {state}")
        # The state may be that of a later try. The id is not: Airflow replaces it before another try can begin. Of the
        # requests that name it, this is the one that every version from 3.0 on has, and that only reads.
        _ask(ValidateInletsAndOutlets(ti_id=self.ti_id))

    def _state(self) -> str | None:
        """Return the state of the task instance, in whatever try."""
        question = GetTaskStates(
            dag_id=self.dag_id,
            task_ids=[self.task_id],
            run_ids=[self.run_id],
            map_index=self.map_index if self.map_index >= 0 else None,
        )
        answer = _ask(question)
        states = answer.task_states.get(self.run_id, {}) if isinstance(answer, TaskStatesResult) else {}
        name = self.task_id if self.map_index < 0 else f"{self.task_id}_{self.map_index}"
        return None if (state := states.get(name)) is None else str(getattr(state, "value", state))


def _ask(question: Any) -> Any:
    try:
        answer = ask(question)
    except LedgerUnreadable as error:
        raise _unknown(error.message) from error
    if not isinstance(answer, ErrorResponse):
        return answer
    status = (answer.detail or {}).get("status_code")
    if answer.error == ErrorType.API_SERVER_ERROR and status in _NO_SUCH_TRY:
        raise _is_over(f"HTTP {status}")
    raise _unknown(f"{answer.error.value} {status or ''}".strip())


def _is_over(reason: str) -> LedgerUnreadable:
    return LedgerUnreadable(
        f"Airflow has given up this try ({reason}), and another one may have taken over. This one buys nothing."
    )


def _unknown(reason: str) -> LedgerUnreadable:
    return LedgerUnreadable(f"Airflow cannot say whether this try still counts ({reason}). Nothing was sent.")
