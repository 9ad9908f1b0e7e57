"""Buys a video: writes the intent down, sends one create request, and writes the Wan task's id down.

Between the decision to buy and the request lie the media, which may take minutes, and a worker can be frozen for hours.
So the decision is examined again where the request is sent. After the intent is written, Airflow must say that this try
still runs. Airflow says no before a later try begins, and a later try reads the record after it has begun: so either
this try learns that it is over, or the later one finds this one's intent. They never send both.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_wan import config
from airflow_wan.api.failures import is_throttling
from airflow_wan.exceptions import (
    InvalidVideoRequest,
    LedgerUnreadable,
    RateLimited,
    SubmitAmbiguous,
    SubmitNotSent,
    WanError,
)
from airflow_wan.net.retrying import outlasting, retrying
from airflow_wan.purchases.budget import Held, reserve
from airflow_wan.purchases.ledger import take_back
from airflow_wan.purchases.record import Intent, Order, Purchase, intent_of, is_same, new_nonce, read_record
from airflow_wan.purchases.this_try import ThisTry
from airflow_wan.purchases.turns import wait_for_turn
from airflow_wan.telemetry.metrics import count_submit, count_throttled_submit

if TYPE_CHECKING:
    from tenacity import Retrying

    from airflow_wan.api.client import WanClient
    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.hooks.wan import WanHook
    from airflow_wan.purchases.ledger import Ledger

log = logging.getLogger(__name__)

SUBMIT_ATTEMPTS = 5
"""Create requests within one try while the gateway cannot be reached, or refuses for a reason that is not clear; each
one before the last certainly bought nothing."""

TOLD_AGAIN_S = 60.0
"""Least seconds after which the log says once more that the gateway still throttles."""

WRITE_ATTEMPTS = 6
"""Attempts at writing down the id of a paid task, or at taking back an intent of which nothing was sent."""


class RunningTry(Protocol):
    """Who buys: a try of a task instance, or a command."""

    def check_is_running(self) -> None:
        """Return if this one still counts.

        :raises LedgerUnreadable: when it does not, or nobody can say.
        """


@dataclass(frozen=True, slots=True)
class Offer:
    """A request that is ready to be sent.

    :param request: what goes on the wire, its media where the gateway can fetch them.
    :param order: what to remember of it.
    :param fingerprint: digest of the request as its author wrote it.
    """

    request: VideoRequest
    order: Order
    fingerprint: str


def buy(
    offer: Offer,
    client: WanClient,
    *,
    hook: WanHook,
    ledger: Ledger,
    this_try: RunningTry,
    seen: Intent | Purchase | None = None,
    instead_of: Purchase | None = None,
    longest_s: float,
) -> Purchase:
    """Send the create request until it is accepted, with its intent written down before and its task's id after.

    It is sent again only if the request before provably bought nothing. A gateway that throttles is outlasted, which
    holds the worker.

    :param offer: what to buy.
    :param client: a client of the hook's account.
    :param hook: the Airflow connection to buy with.
    :param ledger: where to write the purchase down.
    :param this_try: the try that buys.
    :param seen: the record by which it was decided to buy.
    :param instead_of: an earlier purchase to cancel first, if the gateway can.
    :param longest_s: seconds for which a gateway that throttles is outlasted.
    :returns: the purchase; its task has only just begun.
    :raises CostLimitExceeded: when a budget has no room for it; nothing is sent then.
    :raises LedgerUnreadable: when the intent cannot be written down, or this try is over; nothing is sent then.
    :raises SubmitAmbiguous: when the request may have been accepted; the intent stays written down.
    :raises WanError: when the request was refused, or not sent; the record is removed, for nothing was bought.
    """
    held = _reserve(offer, this_try, seen, instead_of)
    offer = replace(offer, order=replace(offer.order, reservations=held.places))
    sender = _Sender(offer, client, hook, ledger, this_try, seen, time.monotonic() + longest_s)
    try:
        if instead_of is not None:
            _check_is_one_of(ledger.read(), (seen,))
            this_try.check_is_running()
            cancel_replaced(instead_of, hook.for_purchase(instead_of.intent.wan_conn_id, instead_of.intent.base_url))
        for warning in hook.account.warnings:
            log.warning(warning)
        log.info("Submitting %s to %s", offer.request, hook.account.gateway.title)
        purchase = sender.send()
    except SubmitAmbiguous:
        raise
    except (Exception, AirflowTaskTimeout) as error:
        if isinstance(error, WanError) or not sender.may_have_sent:
            held.give_back()
        raise
    log.info("Submitted as wan task %s (request id %s)", purchase.wan_task_id, purchase.request_id)
    write_down(purchase, ledger)
    held.confirm(purchase.wan_task_id)
    count_submit(purchase.intent.gateway, offer.request.model, offer.order.estimated_usd)
    return purchase


def _reserve(offer: Offer, this_try: RunningTry, seen: Intent | Purchase | None, instead_of: Purchase | None) -> Held:
    """Reserve what the purchase will cost, if a task instance buys; a command is within no budget of tasks.

    A purchase that is bought anew, and not replaced, is of a Wan task that failed. Any other earlier one may be billed.
    """
    if not isinstance(this_try, ThisTry):
        return Held()
    earlier = None if seen is None else intent_of(seen).order
    is_unbilled = isinstance(seen, Purchase) and instead_of is None
    return reserve(
        this_try,
        offer.order.estimated_usd,
        uncertain=None if is_unbilled else earlier,
        unbilled=earlier if is_unbilled else None,
    )


@dataclass(slots=True)
class _Sender:
    """Sends one create request until it is accepted, or refused for another reason than that requests come too fast.

    Between two requests nothing is recorded, for nothing is bought: whoever is killed there leaves no doubt behind.
    Each request is sent as the first one is: the record is read, the intent written, and Airflow asked.

    :param seen: the record by which it was decided to buy.
    :param until: when no further request is sent, as a reading of `time.monotonic`.
    """

    offer: Offer
    client: WanClient
    hook: WanHook
    ledger: Ledger
    this_try: RunningTry
    seen: Intent | Purchase | None
    until: float
    began: float = field(default_factory=time.monotonic)
    requests: int = 0
    may_have_sent: bool = False
    told_at_s: float = 0.0

    def send(self) -> Purchase:
        """Return the purchase; see `buy`."""
        briefly = retrying(on=(SubmitNotSent, RateLimited), unless=is_throttling, attempts=SUBMIT_ATTEMPTS)
        try:
            patiently = outlasting(is_throttling, until=self.until, tell=self._tell)
            purchase: Purchase = patiently(briefly, self._send_once)
        except RateLimited as error:
            if is_throttling(error):
                error.advice = (
                    f"No video was bought in {readable_time_span(self._held_s)} and {self.requests} create request(s): "
                    f"this account's rate is used up. {self._advice} Or give this task more time: timeout, or "
                    "execution_timeout if that is shorter. A retry of this task tries again."
                )
            raise
        return purchase

    def _send_once(self) -> Purchase:
        """Send one request, and leave no record if it provably bought nothing."""
        account, ledger = self.hook.account, self.ledger
        wait_for_turn(
            account,
            self.offer.request.model,
            per_second=config.creates_per_second(),
            longest_s=max(0.0, self.until - time.monotonic()),
        )
        _check_is_one_of(ledger.read(), self._expected)
        intent = Intent(
            fingerprint=self.offer.fingerprint,
            intent_at=time.time(),
            wan_conn_id=self.hook.wan_conn_id,
            gateway=account.gateway.name,
            base_url=account.base_url,
            order=self.offer.order,
            nonce=new_nonce(),
        )
        _check_can_be_read(intent)
        self.may_have_sent = True
        ledger.write(intent)
        try:
            self.this_try.check_is_running()
            _check_is_one_of(ledger.read(), (intent,))
            self.requests += 1
            task = self.client.create(self.offer.request)
        except SubmitAmbiguous:
            raise
        except WanError:
            _keep_trying()(take_back, ledger, intent)
            self.may_have_sent = False
            raise
        return Purchase(intent, task.wan_task_id, task.request_id, submitted_at=time.time())

    @property
    def _expected(self) -> tuple[Intent | Purchase | None, ...]:
        """What the record may be when an intent is about to be written."""
        if not self.requests or self.seen is None:
            return (self.seen,)
        # The first intent has replaced it, unless each try has a record of its own: then it shows again.
        return (None, self.seen, intent_of(self.seen))

    @property
    def _held_s(self) -> float:
        return time.monotonic() - self.began

    @property
    def _advice(self) -> str:
        slots = math.ceil(config.creates_per_second() or config.DEFAULT_CREATES_PER_SECOND)
        return f"Let fewer tasks submit at a time: give them a pool of {slots} slots (pool=…)."

    def _tell(self, error: BaseException, pause_s: float) -> None:
        """Say that a worker slot is held, at first and whenever that has lasted twice as long."""
        count_throttled_submit(self.hook.account.gateway.name, self.offer.request.model)
        held_s = self._held_s
        if self.told_at_s and held_s < 2 * self.told_at_s:
            return
        self.told_at_s = max(held_s, TOLD_AGAIN_S / 2)
        log.warning(
            "The gateway admits no further create request for now: %s Nothing is bought yet. This task holds a worker "
            "slot until it is its turn: %s so far, at most %s more; the next request is sent in %.0f s. %s",
            getattr(error, "message", error),
            readable_time_span(held_s),
            readable_time_span(max(0.0, self.until - time.monotonic())),
            pause_s,
            self._advice,
        )


def _check_can_be_read(intent: Intent) -> None:
    """Return if a later try can read an intent; ``extra_body`` may hold what no record can.

    :raises InvalidVideoRequest: when it cannot.
    """
    try:
        read_record(intent.to_record())
    except LedgerUnreadable as error:
        raise InvalidVideoRequest([f"What is ordered could not be written down: {error.message}"]) from None


def _check_is_one_of(record: Intent | Purchase | None, expected: tuple[Intent | Purchase | None, ...]) -> None:
    """Return if a record is one of those that are expected.

    :raises LedgerUnreadable: when it is another one.
    """
    if not any(is_same(record, one) for one in expected):
        raise LedgerUnreadable(
            "The purchase record has changed since this try read or wrote it: another try of this task instance has "
            "taken over. This one sends nothing."
        )


def readable_time_span(seconds: float) -> str:
    """Return a length of time in words for a message, such as ``2 h 5 min``."""
    minutes = round(seconds / 60)
    if seconds < 100:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 100 else f"{minutes} min"  # noqa: PLR2004


def write_down(purchase: Purchase, ledger: Ledger) -> None:
    """Write a paid task's id down; if that fails, go on without the record rather than lose the video.

    The record of another try is not replaced: then the log alone holds the id, for a person to find.
    """

    def write() -> bool:
        record = ledger.read()
        if record is not None and not is_same(intent_of(record), purchase.intent):
            return False
        ledger.write(purchase)
        return True

    try:
        written = _keep_trying()(write)
    except LedgerUnreadable as error:
        log.warning(
            "The id of wan task %s, which is paid for, could not be written down. If this try is killed now, the next "
            "try will not know of it. %s",
            purchase.wan_task_id,
            error,
        )
    else:
        if not written:
            log.error(
                "Wan task %s is paid for, but the purchase record is another try's by now, and is left as it is. That "
                "try may have bought a video, too. WanVideoSensor fetches this one by its id within 24 h.",
                purchase.wan_task_id,
            )


def _keep_trying() -> Retrying:
    """Return a loop over what must not fail because Airflow is away for some seconds."""
    return retrying(on=LedgerUnreadable, attempts=WRITE_ATTEMPTS, first_pause_s=0.5, longest_pause_s=15)


def cancel_replaced(purchase: Purchase, hook: WanHook) -> None:
    """Cancel a purchase that another one is about to replace, if the gateway can.

    :param purchase: the purchase that is given up.
    :param hook: the hook of the connection that it was made with.
    """
    log.warning(
        "The request has changed since wan task %s was bought; that task is given up, and may be billed",
        purchase.wan_task_id,
    )
    try:
        with hook.get_conn() as client:
            client.cancel(purchase.wan_task_id)
        log.info("Wan task %s is canceled; it will not be billed", purchase.wan_task_id)
    except WanError as error:
        log.warning("Wan task %s could not be canceled: %s", purchase.wan_task_id, error)
