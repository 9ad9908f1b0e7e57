"""Ends a dry run where the video would be bought."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NoReturn

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_wan.purchases.budget import check_budgets
from airflow_wan.purchases.this_try import ThisTry
from airflow_wan.videos.wan_status import tell_dry_run

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_wan.api.gateways import Account
    from airflow_wan.purchases.buyer import Offer

log = logging.getLogger(__name__)


def end_dry_run(context: Context, offer: Offer, account: Account) -> NoReturn:
    """Tell what would be bought, and skip the task: there is no video for the tasks after it.

    :param context: the running task's context.
    :param offer: what would be bought.
    :param account: where the request would be sent.
    :raises AirflowSkipException: always, unless a budget has no room.
    :raises CostLimitExceeded: when a budget has no room for the video now.
    """
    usd = offer.order.estimated_usd
    check_budgets(ThisTry.of(context), usd)
    tell_dry_run(context, offer.order, account)
    cost = "at a cost that is not known" if usd is None else f"for about {usd:.2f} USD"
    log.info("Dry run: %s would be sent to %s", offer.request, account.gateway.title)
    raise AirflowSkipException(
        f"Dry run: a video of {offer.request.model} would be bought {cost}. Nothing was uploaded, sent or bought."
    )
