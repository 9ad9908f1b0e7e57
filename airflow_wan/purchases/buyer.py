"""Buys a video: writes the intent down, sends one create request, and writes the Wan task's id down.

Between the decision to buy and the request lie the media, which may take minutes, and a worker can be frozen for hours.
So the decision is examined again where the request is sent. After the intent is written, Airflow must say that this try
still runs. Airflow says no before a later try begins, and a later try reads the record after it has begun: so either
this try learns that it is over, or the later one finds this one's intent. They never send both.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_wan.exceptions import LedgerUnreadable, RateLimited, SubmitAmbiguous, SubmitNotSent, WanError
from airflow_wan.net.retrying import retrying
from airflow_wan.purchases.ledger import take_back
from airflow_wan.purchases.record import Intent, Order, Purchase, intent_of, is_same, new_nonce
from airflow_wan.telemetry.metrics import count_submit

if TYPE_CHECKING:
    from tenacity import Retrying

    from airflow_wan.api.client import WanClient
    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.api.tasks import WanTask
    from airflow_wan.hooks.wan import WanHook
    from airflow_wan.purchases.ledger import Ledger
    from airflow_wan.purchases.this_try import ThisTry

log = logging.getLogger(__name__)

SUBMIT_ATTEMPTS = 5
"""Create requests within one try of the Airflow task; each one before the last certainly bought nothing."""

WRITE_ATTEMPTS = 6
"""Attempts at writing down the id of a paid task, or at taking back an intent of which nothing was sent."""


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
    this_try: ThisTry,
    seen: Intent | Purchase | None = None,
    instead_of: Purchase | None = None,
) -> Purchase:
    """Send the create request, at most once, with its intent written down before and its task's id after.

    :param offer: what to buy.
    :param client: a client of the hook's account.
    :param hook: the Airflow connection to buy with.
    :param ledger: where to write the purchase down.
    :param this_try: the try that buys.
    :param seen: the record by which it was decided to buy.
    :param instead_of: an earlier purchase to cancel first, if the gateway can.
    :returns: the purchase; its task has only just begun.
    :raises LedgerUnreadable: when the intent cannot be written down, or this try is over; nothing is sent then.
    :raises SubmitAmbiguous: when the request may have been accepted; the intent stays written down.
    :raises WanError: when the request was refused, or not sent; the record is removed, for nothing was bought.
    """
    account = hook.account
    _check_unchanged(ledger, seen)
    if instead_of is not None:
        this_try.check_is_running()
        cancel_replaced(instead_of, hook.for_purchase(instead_of.intent.wan_conn_id, instead_of.intent.base_url))
    intent = Intent(
        fingerprint=offer.fingerprint,
        intent_at=time.time(),
        wan_conn_id=hook.wan_conn_id,
        gateway=account.gateway.name,
        base_url=account.base_url,
        order=offer.order,
        nonce=new_nonce(),
    )
    log.info("Submitting %s to %s", offer.request, account.gateway.title)
    ledger.write(intent)

    def send() -> WanTask:
        # Before each attempt, for there are pauses between them.
        this_try.check_is_running()
        _check_unchanged(ledger, intent)
        return client.create(offer.request)

    try:
        task = retrying(on=(SubmitNotSent, RateLimited), attempts=SUBMIT_ATTEMPTS)(send)
    except SubmitAmbiguous:
        raise
    except WanError:
        _keep_trying()(take_back, ledger, intent)
        raise
    purchase = Purchase(intent, task.wan_task_id, task.request_id, submitted_at=time.time())
    log.info("Submitted as wan task %s (request id %s)", task.wan_task_id, task.request_id)
    write_down(purchase, ledger)
    count_submit(intent.gateway, offer.request.model, offer.order.estimated_usd)
    return purchase


def _check_unchanged(ledger: Ledger, expected: Intent | Purchase | None) -> None:
    """Return if the ledger holds the expected record.

    :raises LedgerUnreadable: when it holds another one, or cannot be read.
    """
    if not is_same(ledger.read(), expected):
        raise LedgerUnreadable(
            "The purchase record has changed since this try read or wrote it: another try of this task instance has "
            "taken over. This one sends nothing."
        )


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
