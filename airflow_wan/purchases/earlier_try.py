"""Asks the gateway what became of an earlier try's purchase: how its task fares, or which task a lost answer was about.

Asking costs nothing and buys nothing.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from airflow_wan.api.tasks import TaskStatus
from airflow_wan.exceptions import GatewayUnavailable, RateLimited, VideoTaskLost, WanConnectionError, WanError
from airflow_wan.net.retrying import repeat_until
from airflow_wan.purchases.buyer import write_down
from airflow_wan.purchases.decision import readable_time
from airflow_wan.purchases.record import Intent, Purchase

if TYPE_CHECKING:
    from airflow_wan.api.client import WanClient
    from airflow_wan.api.tasks import WanTask
    from airflow_wan.hooks.wan import WanHook
    from airflow_wan.purchases.ledger import Ledger

log = logging.getLogger(__name__)

SEARCH_WINDOW_S = 15 * 60.0
"""Seconds after the intent in which a lost create request is looked for: longer than any read timeout."""

LONGEST_SEARCH_S = 20 * 60.0
"""Seconds to wait until the candidates have ended; most videos take 1 to 5 min."""


def what_became_of(
    earlier: Intent | Purchase | None, hook: WanHook, ledger: Ledger, poll_interval_s: float
) -> tuple[Intent | Purchase | None, TaskStatus | None]:
    """Return the record of an earlier try, completed by its task's id if that is found, and the status of its task.

    :param earlier: the record of an earlier try.
    :param hook: the connection of this try; the gateway is asked with the connection and at the base URL of the record.
    :param ledger: where an id that is found is written down.
    :param poll_interval_s: seconds between two reads while a lost answer's task is looked for.
    :raises GatewayUnavailable: when the gateway's list of tasks cannot be searched for now.
    :raises WanConnectionError: when the record's connection cannot be used.
    """
    if isinstance(earlier, Intent):
        gateway = hook.account.gateway
        if gateway.name != earlier.gateway or not gateway.can_list:
            return earlier, None
        found = find_lost_submit(earlier, hook.for_purchase(earlier.wan_conn_id, earlier.base_url), poll_interval_s)
        if found is None:
            return earlier, None
        write_down(found, ledger)
        earlier = found
    if earlier is None:
        return None, None
    return earlier, status_of(earlier, hook.for_purchase(earlier.intent.wan_conn_id, earlier.intent.base_url))


def status_of(purchase: Purchase, hook: WanHook) -> TaskStatus:
    """Return what the gateway says of a purchase's task.

    :param purchase: the purchase.
    :param hook: the hook of the connection that the purchase was made with.
    :returns: `TaskStatus.UNKNOWN` if the gateway does not know the task, `TaskStatus.UNRECOGNISED` if the gateway
        cannot be asked for now: that is no reason to buy another video, and whoever waits for the task finds out.
    :raises WanConnectionError: when the connection cannot be used.
    """
    try:
        with hook.get_conn() as client:
            return client.get_task(purchase.wan_task_id).status
    except WanConnectionError:
        raise
    except VideoTaskLost as error:
        log.warning("Wan task %s cannot be found: %s", purchase.wan_task_id, error)
        return TaskStatus.UNKNOWN
    except WanError as error:
        log.warning("Wan task %s cannot be read for now: %s", purchase.wan_task_id, error)
        return TaskStatus.UNRECOGNISED


def find_lost_submit(intent: Intent, hook: WanHook, poll_interval_s: float) -> Purchase | None:
    """Find the task of an intent in the gateway's list: the only task since then with exactly its prompt.

    :param intent: the create request whose answer is not known.
    :param hook: the hook of the connection that the request was sent with; its gateway has a list of tasks.
    :param poll_interval_s: seconds between two reads of the candidates.
    :returns: the purchase, or None when no task can be told to be the one.
    :raises GatewayUnavailable: when the list cannot be read for now.
    """
    until = min(time.time(), intent.intent_at + SEARCH_WINDOW_S)
    try:
        with hook.get_conn() as client:
            rows = client.list_tasks(str(intent.order.model), since=intent.intent_at, until=until)
            candidates = _read_until_ended(client, [row.wan_task_id for row in rows], poll_interval_s)
    except (GatewayUnavailable, RateLimited) as error:
        raise GatewayUnavailable(
            f"The answer to the create request of {readable_time(intent.intent_at)} was lost, and the gateway's list "
            f"of tasks cannot be searched for now. Nothing is submitted; the next try searches again: {error.message}",
            code=error.code,
            request_id=error.request_id,
            http_status=error.http_status,
        ) from error
    except WanError as error:
        log.warning("The gateway's list of tasks cannot be searched for the lost create request: %s", error)
        return None
    return _the_only_match(intent, candidates)


def _the_only_match(intent: Intent, candidates: list[WanTask]) -> Purchase | None:
    since = readable_time(intent.intent_at)
    if _any_without_prompt(candidates):
        log.warning("Tasks submitted since %s are still running; cannot yet tell which one is ours", since)
        return None
    matches = [task for task in candidates if task.orig_prompt == intent.order.prompt]
    if len(matches) != 1:
        log.warning("%d tasks submitted since %s have this prompt; cannot tell which one is ours", len(matches), since)
        return None
    (task,) = matches
    log.info("Wan task %s is the one that an earlier try submitted without learning its id", task.wan_task_id)
    return Purchase(intent, task.wan_task_id, request_id=None, submitted_at=intent.intent_at)


def _read_until_ended(client: WanClient, wan_task_ids: list[str], poll_interval_s: float) -> list[WanTask]:
    """Read the tasks until all have ended: only then does the gateway tell their prompts."""

    def read() -> list[WanTask]:
        return [client.get_task(wan_task_id) for wan_task_id in wan_task_ids]

    if wan_task_ids:
        log.info(
            "%d task(s) may be the one that an earlier try submitted; waiting until the gateway tells their prompts",
            len(wan_task_ids),
        )
    return repeat_until(
        lambda tasks: not _any_without_prompt(tasks),
        read,
        despite=GatewayUnavailable,
        pause_s=poll_interval_s,
        longest_s=LONGEST_SEARCH_S,
    )


def _any_without_prompt(tasks: list[WanTask]) -> bool:
    running = (TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.UNRECOGNISED)
    return any(task.status in running and task.orig_prompt is None for task in tasks)
