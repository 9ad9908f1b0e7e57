"""Buys a video: writes the intent down, sends one create request, and writes the Wan task's id down."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_wan.exceptions import LedgerUnreadable, RateLimited, SubmitAmbiguous, SubmitNotSent, WanError
from airflow_wan.net.retrying import retrying
from airflow_wan.purchases.record import Intent, Order, Purchase
from airflow_wan.telemetry.metrics import count_submit

if TYPE_CHECKING:
    from airflow_wan.api.client import WanClient
    from airflow_wan.api.requests import VideoRequest
    from airflow_wan.hooks.wan import WanHook
    from airflow_wan.purchases.ledger import Ledger

log = logging.getLogger(__name__)

SUBMIT_ATTEMPTS = 5
"""Create requests within one try of the Airflow task; each one before the last certainly bought nothing."""

WRITE_ATTEMPTS = 6
"""Attempts at writing down the id of a paid task, before the try goes on without the record."""


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


def buy(offer: Offer, client: WanClient, *, hook: WanHook, ledger: Ledger) -> Purchase:
    """Send the create request, at most once, with its intent written down before and its task's id after.

    :param offer: what to buy.
    :param client: a client of the hook's account.
    :param hook: the Airflow connection to buy with.
    :param ledger: where to write the purchase down.
    :returns: the purchase; its task has only just begun.
    :raises LedgerUnreadable: when the intent cannot be written down; nothing is sent then.
    :raises SubmitAmbiguous: when the request may have been accepted; the intent stays written down.
    :raises WanError: when the request was refused, or not sent; the record is removed, for nothing was bought.
    """
    account = hook.account
    intent = Intent(
        fingerprint=offer.fingerprint,
        intent_at=time.time(),
        wan_conn_id=hook.wan_conn_id,
        gateway=account.gateway.name,
        base_url=account.base_url,
        order=offer.order,
    )
    log.info("Submitting %s to %s", offer.request, account.gateway.title)
    ledger.write(intent)
    send = retrying(on=(SubmitNotSent, RateLimited), attempts=SUBMIT_ATTEMPTS)
    try:
        task = send(client.create, offer.request)
    except SubmitAmbiguous:
        raise
    except WanError:
        ledger.clear()
        raise
    purchase = Purchase(intent, task.wan_task_id, task.request_id, submitted_at=time.time())
    log.info("Submitted as wan task %s (request id %s)", task.wan_task_id, task.request_id)
    write_down(purchase, ledger)
    count_submit(intent.gateway, offer.request.model, offer.order.estimated_usd)
    return purchase


def write_down(purchase: Purchase, ledger: Ledger) -> None:
    """Write a paid task's id down; if that fails, go on without the record rather than lose the video."""
    write = retrying(on=LedgerUnreadable, attempts=WRITE_ATTEMPTS, first_pause_s=0.5, longest_pause_s=15)
    try:
        write(ledger.write, purchase)
    except LedgerUnreadable as error:
        log.warning(
            "The id of wan task %s, which is paid for, could not be written down. If this try is killed now, the next "
            "try will not know of it. %s",
            purchase.wan_task_id,
            error,
        )


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
