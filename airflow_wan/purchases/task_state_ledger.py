"""A purchase record in Airflow's task state store, which belongs to one task instance (Airflow ≥ 3.3)."""

from __future__ import annotations

from typing import Any

from airflow.sdk.execution_time.context import NEVER_EXPIRE

from airflow_wan.exceptions import LedgerUnreadable
from airflow_wan.purchases.record import STATE_STORE_KEY, Intent, Purchase, read_record


class TaskStateLedger:
    """See `Ledger`.

    :param store: ``context["task_state_store"]``.
    """

    where = f"the task state store of this task instance, key {STATE_STORE_KEY!r}"

    def __init__(self, store: Any) -> None:
        self._store = store

    def read(self) -> Intent | Purchase | None:
        """See `Ledger.read`."""
        try:
            record = self._store.get(STATE_STORE_KEY)
        except Exception as error:
            raise LedgerUnreadable(f"The task state store cannot be read: {error}") from error
        return None if record is None else read_record(record)

    def write(self, record: Intent | Purchase) -> None:
        """See `Ledger.write`."""
        try:
            self._store.set(STATE_STORE_KEY, record.to_record(), retention=NEVER_EXPIRE)
        except Exception as error:
            raise LedgerUnreadable(f"The task state store cannot be written: {error}") from error

    def clear(self, *, own_only: bool = False) -> None:  # noqa: ARG002 - there is one record for all tries
        """See `Ledger.clear`."""
        try:
            self._store.delete(STATE_STORE_KEY)
        except Exception as error:
            raise LedgerUnreadable(f"The task state store cannot be written: {error}") from error
