"""One wish, one purchase: decides from the ledger whether a video must be bought, and buys it at most once.

Neither gateway has an idempotency key, so the safety is made of three rules. The intent is written down before the
request goes out. A request that may have been accepted is never sent again by itself. And a video that was bought is
waited for and downloaded, not generated anew.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import tenacity

from airflow_wan.api.tasks import TaskStatus
from airflow_wan.exceptions import (
    GatewayUnavailable,
    LedgerUnreadable,
    PurchaseUncertain,
    RateLimited,
    RequestChanged,
    SubmitAmbiguous,
    SubmitNotSent,
    VideoTaskLost,
    WanError,
)
from airflow_wan.purchases.ledger import Ledger, Order, Purchase, fingerprint_of
from airflow_wan.telemetry.metrics import count_submit

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_wan.api.client import WanClient
    from airflow_wan.api.gateways import Account
    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.api.tasks import WanTask

log = logging.getLogger(__name__)

SUBMIT_ATTEMPTS = 5
"""Sends within one try of the Airflow task, where each before provably bought nothing."""

LONGEST_SUBMIT_PAUSE = 120.0
"""s between two of them, even if the gateway asks for more: Airflow's own retries are for longer troubles."""

LEDGER_ATTEMPTS = 6
"""Tries at writing down a task id that money was spent on, before going on with the id in hand."""


RESCUE_WINDOW = 15 * 60.0
"""s after the intent within which a lost submit is looked for: longer than any read timeout."""

RESCUE_PATIENCE = 20 * 60.0
"""s to wait for the candidates to end; most videos take 1 to 5 min."""

MESSAGE_PROMPT_CHARS = 200


class OnAmbiguousSubmit(StrEnum):
    """What to do about a create request of an earlier try that may have been accepted."""

    FAIL = "fail"
    RESUBMIT = "resubmit"


class OnChangedRequest(StrEnum):
    """What to do when the request differs from the one that an earlier try bought."""

    FAIL = "fail"
    RESUBMIT = "resubmit"


@dataclass(frozen=True, slots=True)
class Offer:
    """A request ready to be sent.

    :param request: what goes on the wire, its media where the gateway can fetch them.
    :param order: what to remember of it.
    """

    request: VideoRequest
    order: Order


@dataclass(slots=True)
class Buyer:
    """Buys one task instance's video, at most once.

    :param ledger: what it has bought before.
    :param account: where to buy now.
    :param wan_conn_id: the Airflow connection that leads there.
    :param connect: gives a client for a connection id and, for an earlier purchase, the base URL it was made at.
    :param prepare: makes a request ready to be sent, or raises; called only when a video is about to be bought.
    :param poll_interval: time between two looks at a candidate, s.
    :param on_ambiguous_submit: see `OnAmbiguousSubmit`.
    :param on_changed_request: see `OnChangedRequest`.
    """

    ledger: Ledger
    account: Account
    wan_conn_id: str
    connect: Callable[[str, str | None], WanClient]
    prepare: Callable[[VideoRequest, WanClient], Offer]
    poll_interval: float
    on_ambiguous_submit: OnAmbiguousSubmit = OnAmbiguousSubmit.FAIL
    on_changed_request: OnChangedRequest = OnChangedRequest.FAIL

    def obtain(self, request: VideoRequest) -> Purchase:
        """The purchase that fulfils the request: an earlier one if there is one, else a new one.

        :returns: a purchase with its wan task id, not necessarily ended.
        :raises LedgerUnreadable: when it cannot be told what was bought before; nothing is sent then.
        :raises WanError: when the video could not be bought, or must not be.
        """
        earlier = self.ledger.read()
        if earlier is None:
            return self._buy(request)
        if earlier.wan_task_id is None:
            return self._after_ambiguity(earlier, request)
        return self._after_submit(earlier, request)

    def _after_submit(self, earlier: Purchase, request: VideoRequest) -> Purchase:
        """An earlier try bought a task: whatever can still become a video is kept."""
        wan_task_id = str(earlier.wan_task_id)
        try:
            with self.connect(earlier.wan_conn_id, earlier.base_url) as client:
                status = client.get_task(wan_task_id).status
        except VideoTaskLost as error:
            log.warning("Wan task %s cannot be found: %s", wan_task_id, error)
            status = TaskStatus.UNKNOWN
        except WanError as error:
            # Not to know how the task fares is no reason to buy another; whoever waits for it will find out.
            log.warning("Wan task %s cannot be asked for now: %s", wan_task_id, error)
            status = TaskStatus.UNRECOGNISED
        if status in (TaskStatus.FAILED, TaskStatus.CANCELED):
            log.info("Wan task %s of an earlier try ended %s and is not billed; submitting anew", wan_task_id, status)
            return self._buy(request)
        if earlier.fingerprint != fingerprint_of(request.body):
            return self._after_change(earlier, request)
        if status is TaskStatus.UNKNOWN:
            raise VideoTaskLost(
                f"An earlier try bought this video as wan task {wan_task_id} on {_date(earlier.submitted_at)}, and the "
                f"gateway at {earlier.base_url} does not know the task (any more). It may have been billed: look it up "
                f"in the gateway's console. To generate it anew, delete {self.ledger.where} and clear this task.",
                wan_task_id=wan_task_id,
                request_id=earlier.request_id,
            )
        log.info(
            "An earlier try bought this video as wan task %s on %s (%s); nothing is submitted",
            wan_task_id,
            _date(earlier.submitted_at),
            status,
        )
        return earlier

    def _after_change(self, earlier: Purchase, request: VideoRequest) -> Purchase:
        """The request is another one than the one that was bought."""
        wan_task_id = str(earlier.wan_task_id)
        if self.on_changed_request is OnChangedRequest.FAIL:
            raise RequestChanged(
                f"The request has changed since an earlier try bought wan task {wan_task_id} on "
                f"{_date(earlier.submitted_at)} for {_short(earlier.prompt)!r}. "
                "That video can be fetched with WanVideoSensor and this id within 24 h; to buy the changed one, set "
                "on_changed_request='resubmit' and clear this task.",
                wan_task_id=wan_task_id,
                request_id=earlier.request_id,
            )
        return self._buy(request, instead_of=earlier)

    def _give_up(self, earlier: Purchase) -> None:
        """Cancel a purchase that another one is about to replace, where that can be done."""
        log.warning(
            "The request has changed since wan task %s was bought; that task is given up and may be billed",
            earlier.wan_task_id,
        )
        try:
            with self.connect(earlier.wan_conn_id, earlier.base_url) as client:
                client.cancel(str(earlier.wan_task_id))
            log.info("Wan task %s is canceled; it will not be billed", earlier.wan_task_id)
        except WanError as error:
            log.warning("Wan task %s could not be canceled: %s", earlier.wan_task_id, error)

    def _after_ambiguity(self, intent: Purchase, request: VideoRequest) -> Purchase:
        """An earlier try was about to send, or sent, and never learned an id."""
        rescued = self._rescue(intent)
        if rescued is not None:
            self._note(rescued)
            return self._after_submit(rescued, request)
        if self.on_ambiguous_submit is OnAmbiguousSubmit.RESUBMIT:
            log.warning(
                "An earlier try may have submitted this video on %s without learning its id; submitting again, as "
                "on_ambiguous_submit='resubmit' says. It may be billed twice.",
                _date(intent.intent_at),
            )
            return self._buy(request)
        listing = (
            f"The list of tasks at {intent.base_url} does not settle it."
            if self._can_list(intent)
            else f"{intent.gateway} has no list of tasks that a key could search."
        )
        raise PurchaseUncertain(
            f"An earlier try sent, or was about to send, the create request for {intent.model} with the prompt "
            f"{_short(intent.prompt)!r} to {intent.base_url} on {_date(intent.intent_at)}, and never learned its "
            f"answer: the video may be in the making, and may be billed. {listing} "
            "Look for 'Submitted as wan task' in the log of that try, and for a task of that time in the gateway's "
            "console. If there is one, fetch it with WanVideoSensor(wan_task_id=…). If there is none, delete "
            f"{self.ledger.where}, or set on_ambiguous_submit='resubmit', and clear this task."
        )

    def _can_list(self, purchase: Purchase) -> bool:
        return purchase.gateway == self.account.gateway.name and self.account.gateway.can_list

    def _rescue(self, intent: Purchase) -> Purchase | None:
        """Find the task of an intent in the gateway's list: the only one since then with our very prompt."""
        if not self._can_list(intent):
            return None
        until = min(time.time(), intent.intent_at + RESCUE_WINDOW)
        try:
            with self.connect(intent.wan_conn_id, intent.base_url) as client:
                rows = client.list_tasks(intent.model, since=intent.intent_at, until=until)
                ended = self._when_ended(client, [row.wan_task_id for row in rows])
        except (GatewayUnavailable, RateLimited) as error:
            raise GatewayUnavailable(
                f"The gateway's list of tasks cannot be searched for now for the submit of {_date(intent.intent_at)}, "
                f"whose answer was lost; nothing is submitted, and the next try searches again: {error.message}",
                code=error.code,
                request_id=error.request_id,
                http_status=error.http_status,
            ) from error
        except WanError as error:
            log.warning("The gateway's list of tasks cannot be searched for the lost submit: %s", error)
            return None
        if _any_undecided(ended):
            log.warning("Tasks since %s still run: none can be told to be ours", _date(intent.intent_at))
            return None
        ours = [task for task in ended if task.orig_prompt == intent.prompt]
        if len(ours) != 1:
            log.warning(
                "%d tasks since %s have this prompt: none can be told to be ours", len(ours), _date(intent.intent_at)
            )
            return None
        (task,) = ours
        log.info("Wan task %s is the one an earlier try submitted without learning its id", task.wan_task_id)
        return replace(intent, wan_task_id=task.wan_task_id, submitted_at=intent.intent_at)

    def _when_ended(self, client: WanClient, wan_task_ids: list[str]) -> list[WanTask]:
        """The tasks, read until all have ended: only then does the gateway tell their prompts."""

        def read() -> list[WanTask]:
            return [client.get_task(wan_task_id) for wan_task_id in wan_task_ids]

        if wan_task_ids:
            log.info("%d tasks may be the one an earlier try submitted; waiting for their prompts", len(wan_task_ids))
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_result(_any_undecided) | tenacity.retry_if_exception_type(GatewayUnavailable),
            stop=tenacity.stop_after_delay(RESCUE_PATIENCE),
            wait=tenacity.wait_fixed(self.poll_interval),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else [],
        )
        return attempts(read)

    def _buy(self, request: VideoRequest, *, instead_of: Purchase | None = None) -> Purchase:
        """Make the request ready, write the intent down, send it, write the task's id down.

        Until the intent takes its place, an earlier record stays: a request that cannot be made ready costs nothing.
        """
        with self.connect(self.wan_conn_id, None) as client:
            offer = self.prepare(request, client)
            if instead_of is not None:
                self._give_up(instead_of)
            intent = Purchase(
                fingerprint=fingerprint_of(request.body),
                intent_at=time.time(),
                wan_conn_id=self.wan_conn_id,
                gateway=self.account.gateway.name,
                base_url=self.account.base_url,
                order=offer.order,
            )
            log.info("Submitting %s to %s", request, self.account.gateway.title)
            self.ledger.write(intent)
            try:
                task = self._send(client, offer.request)
            except SubmitAmbiguous:
                raise
            except WanError:
                # Refused, or never sent: nothing was bought, and the next try starts afresh.
                self.ledger.clear()
                raise
        purchase = replace(intent, wan_task_id=task.wan_task_id, request_id=task.request_id, submitted_at=time.time())
        log.info("Submitted as wan task %s (request id %s)", task.wan_task_id, task.request_id)
        self._note(purchase)
        count_submit(intent.gateway, intent.model, offer.order.estimated_usd)
        return purchase

    def _send(self, client: WanClient, request: VideoRequest) -> WanTask:
        """One POST; more only after one that provably bought nothing."""
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((SubmitNotSent, RateLimited)),
            stop=tenacity.stop_after_attempt(SUBMIT_ATTEMPTS),
            wait=_submit_pause,
            before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        return attempts(client.create, request)

    def _note(self, purchase: Purchase) -> None:
        """Write a paid task's id down; where that fails, go on with the id in hand rather than lose the video."""
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(LedgerUnreadable),
            stop=tenacity.stop_after_attempt(LEDGER_ATTEMPTS),
            wait=tenacity.wait_exponential(multiplier=0.5, max=15) + tenacity.wait_random(0, 0.5),
            before_sleep=tenacity.before_sleep_log(log, logging.WARNING),
            reraise=True,
        )
        try:
            attempts(self.ledger.write, purchase)
        except LedgerUnreadable as error:
            log.warning(
                "Wan task %s could not be written down: if this try dies now, the next one will not know of it. %s",
                purchase.wan_task_id,
                error,
            )


def _any_undecided(tasks: list[WanTask]) -> bool:
    running = (TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.UNRECOGNISED)
    return any(task.status in running and task.orig_prompt is None for task in tasks)


def _submit_pause(state: tenacity.RetryCallState) -> float:
    """As long as the gateway asks, else longer each time; never so long that Airflow's own retry serves better."""
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None)
    backoff = tenacity.wait_exponential(multiplier=1, max=30) + tenacity.wait_random(0, 1)
    return min(backoff(state) if asked is None else float(asked), LONGEST_SUBMIT_PAUSE)


def _date(moment: float | None) -> str:
    return "an unknown date" if moment is None else f"{datetime.fromtimestamp(moment, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"


def _short(prompt: str) -> str:
    return prompt if len(prompt) <= MESSAGE_PROMPT_CHARS else prompt[:MESSAGE_PROMPT_CHARS] + "…"
