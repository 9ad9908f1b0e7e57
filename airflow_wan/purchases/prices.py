"""What a video will cost by the estimate, and what it did cost: by list prices of a date, or by configured rates."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_wan.api.catalogue import family_of
from airflow_wan.exceptions import CostLimitExceeded, WanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_wan.api.client import WanClient
    from airflow_wan.api.requests import VideoRequest

log = logging.getLogger(__name__)

RATES_AS_OF = "2026-08"
"""Year and month of the shipped rates."""


def _same_rates(models: str, rates: Mapping[str, float]) -> dict[str, Mapping[str, float]]:
    return dict.fromkeys(models.split(), rates)


# APIYI: its price list (RMB x 0.14), which has no rate for wan2.7-videoedit, wan2.6 and wan3.0 at 480P. DashScope: the
# international (Singapore) list prices of 2026-08-24, and of September for wan3.0-video; wan2.7-videoedit has the rates
# of its family, not confirmed. Of wan3.0-video-prime, and of HappyHorse at 480P, only Beijing's prices were found. They
# may be too low elsewhere, so there is no rate, and a task with max_cost says so.
SHIPPED_RATES: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "apiyi": {
        **_same_rates("wan2.7-t2v wan2.7-i2v wan2.7-r2v", {"720P": 0.084, "1080P": 0.14}),
        **_same_rates("happyhorse-1.1-t2v happyhorse-1.1-i2v happyhorse-1.1-r2v", {"720P": 0.126, "1080P": 0.224}),
        "wan3.0-video": {"720P": 0.0588, "1080P": 0.1176},
        "wan3.0-video-prime": {"720P": 0.126},
    },
    "dashscope": {
        "wan3.0-video": {"480P": 0.05, "720P": 0.10, "1080P": 0.20},
        **_same_rates("wan2.5-t2v-preview wan2.5-i2v-preview", {"480P": 0.05}),
        **_same_rates("wan2.7-t2v wan2.7-i2v wan2.7-r2v wan2.7-videoedit", {"720P": 0.10, "1080P": 0.15}),
        **_same_rates("wan2.6-t2v wan2.6-i2v wan2.6-r2v", {"720P": 0.10, "1080P": 0.15}),
        **_same_rates("happyhorse-1.1-t2v happyhorse-1.1-i2v happyhorse-1.1-r2v", {"720P": 0.14, "1080P": 0.18}),
        **_same_rates(
            "happyhorse-1.0-t2v happyhorse-1.0-i2v happyhorse-1.0-r2v happyhorse-1.0-video-edit",
            {"720P": 0.14, "1080P": 0.24},
        ),
    },
}
"""USD a second of video, by gateway, model family and resolution. Prices change and top-ups earn bonuses, so this is an
estimate, no more."""


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """The most that a video should cost.

    :param usd: the estimate, USD.
    :param seconds: the seconds that are billed: of the output, and of the input where it is billed too.
    """

    usd: float
    seconds: float

    def __str__(self) -> str:
        """Return the estimate as words for the log."""
        return (
            f"about {self.usd:.2f} USD for {self.seconds:g} s (an estimate, by [wan] usd_per_second or list prices of "
            f"{RATES_AS_OF})"
        )


def estimate_cost(
    gateway: str, model: str, resolution: str, seconds: float, rates: Mapping[str, Any] | None = None
) -> float | None:
    """Return what a video costs, USD, or None when no rate is known.

    :param gateway: ``apiyi`` or ``dashscope``.
    :param model: model id; a dated snapshot costs what its family does.
    :param resolution: ``480P``, ``720P`` or ``1080P``.
    :param seconds: seconds that are billed.
    :param rates: rates like `SHIPPED_RATES`; by default those of ``[wan] usd_per_second`` over the shipped ones.
    """
    for table in (rates if rates is not None else configured_rates(), SHIPPED_RATES):
        for name in (model, family_of(model)):
            rate = table.get(gateway, {}).get(name, {}).get(resolution)
            if rate is not None:
                return round(float(rate) * seconds, 4)
    return None


def estimate_request(
    gateway: str, request: VideoRequest, input_seconds: Iterable[float | None] = ()
) -> CostEstimate | None:
    """Return the most that a request can cost by the rates; None when no rate, or no limit of its length, is known.

    The bound: the seconds of `VideoRequest.billed_seconds`, at the rate of the resolution that is sent. What is billed
    is never more, as long as the rates are right and the gateway bills by its documents.

    :param gateway: ``apiyi`` or ``dashscope``.
    :param request: the request.
    :param input_seconds: lengths of its input videos, s; None for a video that was not measured.
    """
    seconds = request.billed_seconds(list(input_seconds))
    if seconds is None:
        return None
    costs = [estimate_cost(gateway, request.model, named, seconds) for named in request.billed_resolutions]
    known = [cost for cost in costs if cost is not None]
    return CostEstimate(max(known), seconds) if known and len(known) == len(costs) else None


def check_cost(estimate: CostEstimate | None, max_cost: float | None) -> None:
    """Raise an error if a video costs more than the task may spend.

    :param estimate: what the video should cost; None when that is not known.
    :param max_cost: what the task may spend, USD; None for no limit.
    :raises CostLimitExceeded: when the video would cost more, or its cost is not known.
    """
    if max_cost is None:
        return
    if estimate is None:
        raise CostLimitExceeded(
            f"The task may spend {max_cost:g} USD (max_cost), but the cost of this video is not known. "
            "Set its rate in [wan] usd_per_second, or give no max_cost."
        )
    if estimate.usd > max_cost:
        raise CostLimitExceeded(
            f"The video would cost {estimate}; the task may spend {max_cost:g} USD (max_cost). Raise max_cost, or "
            "order a shorter video or a lower resolution."
        )


def settle_cost(gateway: str, model: str, resolution: str | None, usage: Mapping[str, Any]) -> float | None:
    """Return what a video cost by what the gateway says that it billed, USD, or None when that is not known.

    :param gateway: ``apiyi`` or ``dashscope``.
    :param model: model id.
    :param resolution: the resolution that was ordered, for answers that name none.
    :param usage: the answer's ``usage``: ``duration`` (s), ``SR`` (720) and ``video_count``; older models say
        ``video_duration``. Alibaba's pages disagree whether ``duration`` includes the input, so the larger of it and
        the sum of ``input_video_duration`` and ``output_video_duration`` counts.
    """
    told = positive_number(usage.get("duration")) or positive_number(usage.get("video_duration")) or 0
    parts = [positive_number(usage.get(f"{part}_video_duration")) or 0 for part in ("input", "output")]
    seconds = max(told, sum(parts))
    lines = positive_number(str(usage.get("SR")).upper().removesuffix("P"))
    tier = f"{lines:g}P" if lines else resolution
    if not seconds or tier is None:
        return None
    return estimate_cost(gateway, model, tier, seconds * (positive_number(usage.get("video_count")) or 1))


def charged_cost(client: WanClient, wan_task_id: str) -> float | None:
    """Return what the gateway charged for a succeeded task, USD, or None when it does not tell, or cannot be asked.

    :param client: a client of the account that the task was submitted with.
    :param wan_task_id: the task.
    """
    try:
        return client.cost_of(wan_task_id)
    except WanError as error:
        log.warning("What wan task %s has cost cannot be read: %s", wan_task_id, error)
        return None


def positive_number(value: object) -> float | None:
    """Return a positive number, given as a number or as text; None for anything else."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        return None
    return number if 0 < number < float("inf") else None


def configured_rates() -> Mapping[str, Any]:
    """Return the rates of ``[wan] usd_per_second``, empty when the option is not set.

    :raises ValueError: when the option is not a JSON object of gateway → model → resolution → USD.
    """
    text = conf.get("wan", "usd_per_second", fallback="") or "{}"
    try:
        rates = json.loads(text)
        for models in rates.values():
            for resolutions in models.values():
                for rate in resolutions.values():
                    float(rate)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            "[wan] usd_per_second must be JSON such as "
            '{"apiyi": {"wan2.7-i2v": {"720P": 0.084}}} (gateway, model, resolution, USD a second).'
        ) from error
    return dict(rates)
