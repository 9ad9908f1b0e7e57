"""Makes a request ready to be sent: its media measured and reachable, its cost within the limit."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from airflow_wan.media.prepare import prepare_media
from airflow_wan.purchases.buyer import Offer
from airflow_wan.purchases.prices import check_cost, estimate_request
from airflow_wan.purchases.record import Order, fingerprint_of
from airflow_wan.redaction import shareable

if TYPE_CHECKING:
    from airflow_wan.api.client import WanClient
    from airflow_wan.api.gateways import Account
    from airflow_wan.api.requests import VideoRequest

log = logging.getLogger(__name__)


def make_offer(
    request: VideoRequest,
    client: WanClient,
    account: Account,
    *,
    media_valid_for_s: float,
    preflight: bool,
    max_cost_usd: float | None,
    send_media: bool = True,
    adapt_media: bool = False,
    cut_audio: bool = False,
) -> Offer:
    """Return a request that can be sent. This costs nothing, so a retry may do it again.

    :param request: the request as its author wrote it.
    :param client: a client of the account.
    :param account: where the request will go.
    :param media_valid_for_s: seconds from now during which the gateway may still fetch the media.
    :param preflight: whether to hold the media to the gateway's limits.
    :param max_cost_usd: what the task may spend, USD; None for no limit.
    :param send_media: whether to upload the media that have to be; without them, the request can only be looked at.
    :param adapt_media: whether a file that breaks a limit is replaced by a copy that fits.
    :param cut_audio: whether such a copy of a sound that is too long lacks its end.
    :raises InvalidVideoRequest: when a medium is missing, breaks a limit, or cannot be given to this gateway.
    :raises CostLimitExceeded: when the video would cost more than the limit, or its cost is not known.
    :raises WanError: when an upload fails for now.
    """
    prepared = prepare_media(
        request,
        account=account,
        client=client,
        valid_for_s=media_valid_for_s,
        preflight=preflight,
        send=send_media,
        adapt_media=adapt_media,
        cut_audio=cut_audio,
    )
    gateway = account.gateway.name
    ready = prepared.request
    estimate = estimate_request(gateway, ready, prepared.clip_seconds)
    if estimate is None:
        log.info("The cost is not known: there is no rate for %s at %s", request.model, gateway)
    else:
        log.info("The video will cost %s", estimate)
    check_cost(estimate, max_cost_usd)
    order = Order(
        request=shareable(request.body),
        sources=[asdict(source) for source in prepared.sources],
        seconds=ready.expected_seconds(prepared.clip_seconds),
        resolution=ready.resolution,
        driven_by_audio=ready.is_driven_by_audio,
        estimated_usd=estimate.usd if estimate else None,
    )
    return Offer(ready, order, fingerprint_of(request.body))
