"""Counters and timers, sent wherever Airflow's own metrics go (StatsD, OpenTelemetry).

========================== ======= ========================================================= =====================
metric                     kind    meaning                                                   tags
========================== ======= ========================================================= =====================
wan.submits                counter create requests that the gateway accepted                 gateway, model
wan.submits.throttled      counter create requests that were answered 429 and are sent again gateway, model
wan.estimated_cost_cents   counter their estimated cost, US cents                            gateway, model
wan.waits                  timer   from the submit, or from the start of a sensor's wait, to gateway, model
                                   the task's success
wan.videos                 counter videos delivered to their destination                     gateway, model
wan.seconds_generated      counter their length, s                                           gateway, model
wan.bytes                  counter their size, bytes                                         gateway, model
wan.reads                  counter calls that asked how Wan tasks are, by the triggerer      gateway, kind
wan.reads.throttled        counter those of them that were answered 429                      gateway, kind
wan.waiting                gauge   waits of the triggerer for the accounts of a gateway      gateway
wan.reuses                 counter videos that existed already and were not made again       model
wan.failures               counter tasks that raised, by the error's class and code          error, code
========================== ======= ========================================================= =====================
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import Stats

from airflow_wan.telemetry.harmless import harmless

if TYPE_CHECKING:
    from airflow_wan.exceptions import WanError

_UNKNOWN = "unknown"


@harmless("A metric")
def count_submit(gateway: str, model: str, estimated_usd: float | None) -> None:
    """Count a create request that the gateway accepted.

    :param gateway: the gateway's name.
    :param model: the model id.
    :param estimated_usd: the estimated cost, None where no rate is known.
    """
    tags = {"gateway": gateway, "model": model}
    Stats.incr("wan.submits", tags=tags)
    if estimated_usd is not None:
        Stats.incr("wan.estimated_cost_cents", round(estimated_usd * 100), tags=tags)


@harmless("A metric")
def count_throttled_submit(gateway: str, model: str) -> None:
    """Count a create request that the gateway throttled, and that is sent again."""
    Stats.incr("wan.submits.throttled", tags={"gateway": gateway, "model": model})


@harmless("A metric")
def count_video(gateway: str, model: str | None, *, seconds: float | None, size: int, waited_s: float | None) -> None:
    """Count a video that was delivered to its destination.

    :param gateway: the gateway's name.
    :param model: the model id, where known.
    :param seconds: the video's length, s, where known.
    :param size: the file's size, bytes.
    :param waited_s: how long the task waited for the video, s, where known.
    """
    tags = {"gateway": gateway, "model": model or _UNKNOWN}
    Stats.incr("wan.videos", tags=tags)
    Stats.incr("wan.bytes", size, tags=tags)
    if seconds is not None:
        Stats.incr("wan.seconds_generated", round(seconds), tags=tags)
    if waited_s is not None:
        Stats.timing("wan.waits", timedelta(seconds=waited_s), tags=tags)


@harmless("A metric")
def count_reuse(model: str | None) -> None:
    """Count a video that existed already and was not made again."""
    Stats.incr("wan.reuses", tags={"model": model or _UNKNOWN})


@harmless("A metric")
def count_failure(error: WanError) -> None:
    """Count a task that raised this error."""
    Stats.incr("wan.failures", tags={"error": type(error).__name__, "code": error.code or _UNKNOWN})


class ReaderMetrics:
    """Tells what a reader of many waits does; an `airflow_wan.waiting.shared_reader.Observer`."""

    @staticmethod
    @harmless("A metric")
    def count_read(gateway: str, kind: str, *, throttled: bool) -> None:
        """Count a call that asked how Wan tasks are: ``task`` or ``list``."""
        tags = {"gateway": gateway, "kind": kind}
        Stats.incr("wan.reads", tags=tags)
        if throttled:
            Stats.incr("wan.reads.throttled", tags=tags)

    @staticmethod
    @harmless("A metric")
    def count_waiting(gateway: str, waits: int) -> None:
        """Tell how many waits a reader has."""
        Stats.gauge("wan.waiting", waits, tags={"gateway": gateway})
