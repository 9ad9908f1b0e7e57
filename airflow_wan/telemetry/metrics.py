"""The counts that operators of an Airflow watch, sent wherever its own metrics go (StatsD, OpenTelemetry).

========================== ======= ========================================================= =====================
metric                     kind    meaning                                                   tags
========================== ======= ========================================================= =====================
wan.submits                counter create requests that were accepted                        gateway, model
wan.estimated_cost_cents   counter what they would cost by the estimate, US cents            gateway, model
wan.waits                  timer   from the submit, or the begin of the wait, to its success gateway, model
wan.videos                 counter videos brought home                                       gateway, model
wan.seconds_generated      counter their length, s                                           gateway, model
wan.bytes                  counter their size, bytes                                         gateway, model
wan.reuses                 counter videos that were there already                            model
wan.failures               counter tasks that raised, by the error's class and code          error, code
wan.failures.<code>        counter the same, for systems without tags; the class if no code
========================== ======= ========================================================= =====================
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import Stats

if TYPE_CHECKING:
    from airflow_wan.exceptions import WanError

_UNKNOWN = "unknown"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


def count_submit(gateway: str, model: str, estimated_usd: float | None) -> None:
    """A create request was accepted."""
    tags = {"gateway": gateway, "model": model}
    Stats.incr("wan.submits", tags=tags)
    if estimated_usd is not None:
        Stats.incr("wan.estimated_cost_cents", round(estimated_usd * 100), tags=tags)


def count_video(gateway: str, model: str | None, *, seconds: float | None, size: int, waited_s: float | None) -> None:
    """A video came home.

    :param gateway: the gateway's name.
    :param model: its model, where known.
    :param seconds: its length, s, where known.
    :param size: bytes.
    :param waited_s: how long it was waited for, s, where known.
    """
    tags = {"gateway": gateway, "model": model or _UNKNOWN}
    Stats.incr("wan.videos", tags=tags)
    Stats.incr("wan.bytes", size, tags=tags)
    if seconds is not None:
        Stats.incr("wan.seconds_generated", round(seconds), tags=tags)
    if waited_s is not None:
        Stats.timing("wan.waits", timedelta(seconds=waited_s), tags=tags)


def count_reuse(model: str | None) -> None:
    """A video was there already."""
    Stats.incr("wan.reuses", tags={"model": model or _UNKNOWN})


def count_failure(error: WanError) -> None:
    """A task raised."""
    kind = type(error).__name__
    Stats.incr("wan.failures", tags={"error": kind, "code": error.code or _UNKNOWN})
    Stats.incr(f"wan.failures.{_NOT_IN_NAMES.sub('_', error.code or kind)}")
