"""Where the purchase record of a task instance is kept, across its retries and its workers' crashes.

There is one record for each task instance, whatever its try number. It is removed once Airflow has recorded the
task's success. Airflow ≥ 3.3 keeps it in the task state store, earlier versions as an Airflow Variable: both survive
a retry, as an XCom does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_wan.purchases.record import Intent, Purchase


class Ledger(Protocol):
    """The place of one task instance's purchase record."""

    where: str
    """Where a person finds the record, in words."""

    def read(self) -> Intent | Purchase | None:
        """Return the record, or None if there is certainly none.

        :raises LedgerUnreadable: when the record cannot be read.
        """

    def write(self, record: Intent | Purchase) -> None:
        """Keep the record, in place of any earlier one.

        :raises LedgerUnreadable: when the record may not have been kept.
        """

    def clear(self) -> None:
        """Remove the record.

        :raises LedgerUnreadable: when the record may still be there.
        """


def open_ledger(context: Context) -> Ledger:
    """Return the ledger of the running task instance, in the place that its Airflow version offers."""
    store: Any = context.get("task_state_store")
    if store is not None:
        from airflow_wan.purchases.task_state_ledger import TaskStateLedger  # noqa: PLC0415 - Airflow ≥ 3.3 only

        return TaskStateLedger(store)
    from airflow_wan.purchases.variable_ledger import VariableLedger  # noqa: PLC0415 - Airflow < 3.3 only

    instance = context["ti"]
    map_index = -1 if instance.map_index is None else instance.map_index
    return VariableLedger(instance.dag_id, instance.run_id, instance.task_id, map_index)


def forget_purchase(context: Context) -> None:
    """Remove the record of a task whose success Airflow has recorded; a success callback.

    Not earlier: a worker that is killed between the download and that moment runs again, and must find the record.
    """
    open_ledger(context).clear()
