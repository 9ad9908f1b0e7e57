"""Asks the gateway what became of an earlier try's purchase: how its task fares, or which task a lost answer was about.

Asking costs nothing and buys nothing.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_wan.api.tasks import TaskStatus
from airflow_wan.exceptions import GatewayUnavailable, RateLimited, VideoTaskLost, WanConnectionError, WanError
from airflow_wan.purchases.buyer import write_down
from airflow_wan.purchases.decision import readable_time
from airflow_wan.purchases.record import Intent, Purchase
from airflow_wan.waiting.patience import TASK_KEPT_S

if TYPE_CHECKING:
    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.hooks.wan import WanHook
    from airflow_wan.purchases.ledger import Ledger
    from airflow_wan.purchases.siblings import Claims

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is known of what an earlier try did.

    :param record: its record, completed by its task's id if that was found.
    :param status: of a purchase, the status of its task.
    :param search: what came of the search for a lost answer's task, as sentences for a person; None if there was none.
    """

    record: Intent | Purchase | None
    status: TaskStatus | None = None
    search: str | None = None


def what_became_of(
    record: Intent | Purchase | None,
    request: VideoRequest,
    *,
    hook: WanHook,
    ledger: Ledger,
    siblings: Claims,
    poll_interval_s: float | None,
) -> Earlier:
    """Return what became of what an earlier try bought, or was about to buy.

    :param record: the record of an earlier try.
    :param request: the request of this try.
    :param hook: the connection of this try; the gateway is asked with the connection and at the base URL of the record.
    :param ledger: where an id that is found is written down.
    :param siblings: what else may hold the task of a lost answer.
    :param poll_interval_s: seconds between two reads while a lost answer's task is looked for, if the user fixed
        them.
    :raises GatewayUnavailable: when the gateway's list of tasks cannot be searched for now.
    :raises WanConnectionError: when the record's connection cannot be used.
    """
    if isinstance(record, Intent):
        found = _search(record, request, hook, siblings, poll_interval_s)
        if not isinstance(found, Purchase):
            return Earlier(record, search=found)
        write_down(found, ledger)
        record = found
    if record is None:
        return Earlier(None)
    return Earlier(record, status_of(record, hook.for_purchase(record.intent.wan_conn_id, record.intent.base_url)))


def _search(
    intent: Intent, request: VideoRequest, hook: WanHook, siblings: Claims, poll_interval_s: float | None
) -> Purchase | str | None:
    """Return the purchase of an intent, or what came of the search for it, None if its gateway has no list.

    :raises GatewayUnavailable: when the list, or a file that has to be compared, cannot be read for now.
    """
    if hook.account.gateway.name != intent.gateway or not hook.account.can_list:
        return None
    hook = hook.for_purchase(intent.wan_conn_id, intent.base_url)
    if hook.account.gateway.name != intent.gateway or not hook.account.can_list:
        return None
    from airflow_wan.purchases.lost_submit import LostSubmit, NotProvenError  # noqa: PLC0415 - Pillow; rarely needed

    lost = LostSubmit(intent, request, hook.account, siblings, poll_interval_s)
    try:
        with hook.get_conn() as client:
            return lost.find(client)
    except NotProvenError as error:
        return f"The list of tasks at {intent.base_url} does not settle it. {error}"
    except (GatewayUnavailable, RateLimited) as error:
        raise GatewayUnavailable(
            f"The answer to the create request of {readable_time(intent.intent_at)} was lost, and the gateway's list "
            f"of tasks cannot be searched for now. Nothing is submitted; the next try searches again: {error.message}",
            code=error.code,
            request_id=error.request_id,
            http_status=error.http_status,
        ) from error
    except WanConnectionError:
        raise
    except WanError as error:
        log.warning("The gateway's list of tasks cannot be searched for the lost create request: %s", error)
        return f"The list of tasks at {intent.base_url} cannot be searched: {error.message}"


def status_of(purchase: Purchase, hook: WanHook) -> TaskStatus:
    """Return what the gateway says of a purchase's task.

    :param purchase: the purchase.
    :param hook: the hook of the connection that the purchase was made with.
    :returns: `TaskStatus.UNKNOWN` if the gateway does not know the task any more, `TaskStatus.UNRECOGNISED` if the
        gateway cannot be asked for now, or does not know a task that it must still keep: that is no reason to buy
        another video, and whoever waits for the task finds out.
    :raises WanConnectionError: when the connection cannot be used.
    """
    try:
        with hook.get_conn() as client:
            status = client.get_task(purchase.wan_task_id).status
    except WanConnectionError:
        raise
    except VideoTaskLost as error:
        log.warning("Wan task %s cannot be found: %s", purchase.wan_task_id, error)
        status = TaskStatus.UNKNOWN
    except WanError as error:
        log.warning("Wan task %s cannot be read for now: %s", purchase.wan_task_id, error)
        return TaskStatus.UNRECOGNISED
    if status is TaskStatus.UNKNOWN and time.time() < purchase.submitted_at + TASK_KEPT_S:
        return TaskStatus.UNRECOGNISED
    return status
