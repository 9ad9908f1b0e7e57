"""What a submit task leaves in XCom for the sensor that waits for its video: what was ordered, by the Wan task id."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_wan.exceptions import LedgerUnreadable
from airflow_wan.purchases.record import Purchase, read_record
from airflow_wan.purchases.siblings import map_index_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)

WAN_ORDER_KEY = "wan_order"
"""The XCom key of a submit's purchase record."""


def leave_order(context: Context, purchase: Purchase) -> None:
    """Leave a purchase in XCom for the sensor; nothing secret is in it."""
    context["ti"].xcom_push(key=WAN_ORDER_KEY, value=purchase.to_record())


def find_order(context: Context, wan_task_id: str) -> Purchase | None:
    """Return the purchase of a Wan task, if a task upstream of the running one submitted it.

    :param context: the running task's context.
    :param wan_task_id: the Wan task.
    :returns: the purchase, or None when no upstream task left one. The video is then compared with nothing.
    """
    try:
        for record in _records_upstream(context):
            if isinstance(record, dict) and record.get("wan_task_id") == wan_task_id:
                found = read_record(record)
                return found if isinstance(found, Purchase) else None
    except LedgerUnreadable as error:
        log.warning("What was ordered cannot be read, so the video is compared with nothing: %s", error)
    except Exception as error:  # noqa: BLE001 - XCom back ends raise errors of their own; the video is worth more
        log.warning("What was ordered cannot be looked up, so the video is compared with nothing: %s", error)
    return None


def _records_upstream(context: Context) -> Iterator[Any]:
    """Yield what upstream tasks left: first what a mapped task of the same index left, then all the rest."""
    instance, task = context["ti"], context["task"]
    if not task.has_dag():
        return
    submits = [node.task_id for node in task.get_flat_relatives(upstream=True) if _leaves_order(node)]
    for task_id in submits:
        yield instance.xcom_pull(task_ids=task_id, key=WAN_ORDER_KEY, map_indexes=map_index_of(instance))
    for task_id in submits:
        yield from instance.xcom_pull(task_ids=[task_id], key=WAN_ORDER_KEY) or ()


def _leaves_order(task: Any) -> bool:
    """Return whether a task, mapped or not, is of an operator that calls `leave_order`."""
    return bool(getattr(getattr(task, "operator_class", task), "leaves_wan_order", False))
