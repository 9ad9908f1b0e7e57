"""Asks Airflow's execution API directly, through the supervisor of the task's process."""

from __future__ import annotations

from typing import Any

from airflow.sdk.exceptions import AirflowRuntimeError

from airflow_wan.exceptions import LedgerUnreadable


def ask(message: Any) -> Any:
    """Return Airflow's answer to a message, which may be an ``ErrorResponse``.

    :param message: one of ``airflow.sdk.execution_time.comms``.
    :raises LedgerUnreadable: when Airflow does not answer.
    """
    from airflow.sdk.execution_time import task_runner  # noqa: PLC0415 - heavy; where a task runs, it is there already

    try:
        return task_runner.SUPERVISOR_COMMS.send(message)
    except AirflowRuntimeError as error:
        return error.error
    except Exception as error:
        raise LedgerUnreadable(f"Airflow's execution API cannot be reached: {error}") from error
