"""Where the purchase record of a task instance is kept, across its retries and its workers' crashes.

Every try of a task instance reads what the earlier ones wrote. The record is removed once Airflow has recorded the
task's success. Airflow ≥ 3.3 keeps it in the task state store, earlier versions as an Airflow Variable: both survive
a retry, as an XCom does not.

A try may be over without knowing it: its worker was frozen, and Airflow has started another try. Such a try must not
change what a later try has written. The task state store refuses it, because Airflow gives each try another id. Of
Variables, each try has one of its own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from airflow_wan.purchases.budget import give_back
from airflow_wan.purchases.record import Purchase, is_same
from airflow_wan.purchases.siblings import map_index_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_wan.purchases.record import Intent

log = logging.getLogger(__name__)


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

    def clear(self, *, own_only: bool = False) -> None:
        """Remove the record.

        :param own_only: whether to remove only what this try has written, where that is kept apart.
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
    return VariableLedger(
        instance.dag_id, instance.run_id, instance.task_id, map_index_of(instance), instance.try_number
    )


def take_back(ledger: Ledger, intent: Intent) -> None:
    """Remove an intent of which nothing was sent, if the ledger still holds this very one.

    :param ledger: the ledger.
    :param intent: the intent.
    :raises LedgerUnreadable: when the intent may still be there.
    """
    if is_same(ledger.read(), intent):
        ledger.clear(own_only=True)


def clear_purchase(ledger: Ledger, wan_task_id: str | None) -> None:
    """Remove the record of a Wan task that is not billed, and what it has reserved, if the ledger holds that one.

    :param ledger: the ledger.
    :param wan_task_id: the Wan task.
    :raises LedgerUnreadable: when the record may still be there.
    """
    record = ledger.read()
    if isinstance(record, Purchase) and record.wan_task_id == wan_task_id:
        give_back(record.order)
        ledger.clear()
    elif record is not None:
        log.warning("The purchase record is not that of wan task %s, so it stays.", wan_task_id)


def forget_purchase(context: Context) -> None:
    """Remove the record of a task whose success Airflow has recorded; a success callback.

    Not earlier: a worker that is killed between the download and that moment runs again, and must find the record.
    What a later try has written stays, whenever this runs; see the top of this module.
    """
    open_ledger(context).clear()
