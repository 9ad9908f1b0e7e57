"""What a video would cost, and what it did: estimates from dated list prices, or from Airflow's configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_wan.api.catalogue import family_of
from airflow_wan.exceptions import CostLimitExceeded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_wan.api.requests import VideoRequest

RATES_AS_OF = "2026-08"


def _each(models: str, rates: Mapping[str, float]) -> dict[str, Mapping[str, float]]:
    return dict.fromkeys(models.split(), rates)


# USD a second of video, by gateway, model family and resolution. APIYI: its price list (RMB x 0.14), which has no rate
# for wan2.7-videoedit, wan2.6 and wan3.0 at 480P. DashScope: the international (Singapore) list prices of 2026-08-24;
# for wan2.7-videoedit its family's, not confirmed; none known for wan3.0. Prices drift and top-ups earn bonuses: an
# estimate, no more.
SHIPPED_RATES: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "apiyi": {
        **_each("wan2.7-t2v wan2.7-i2v wan2.7-r2v", {"720P": 0.084, "1080P": 0.14}),
        **_each("happyhorse-1.1-t2v happyhorse-1.1-i2v happyhorse-1.1-r2v", {"720P": 0.126, "1080P": 0.224}),
        "wan3.0-video": {"720P": 0.0588, "1080P": 0.1176},
        "wan3.0-video-prime": {"720P": 0.126},
    },
    "dashscope": {
        **_each("wan2.7-t2v wan2.7-i2v wan2.7-r2v wan2.7-videoedit", {"720P": 0.10, "1080P": 0.15}),
        **_each("wan2.6-t2v wan2.6-i2v wan2.6-r2v", {"720P": 0.10, "1080P": 0.15}),
        **_each("happyhorse-1.1-t2v happyhorse-1.1-i2v happyhorse-1.1-r2v", {"720P": 0.14, "1080P": 0.18}),
        **_each(
            "happyhorse-1.0-t2v happyhorse-1.0-i2v happyhorse-1.0-r2v happyhorse-1.0-video-edit",
            {"720P": 0.14, "1080P": 0.24},
        ),
    },
}


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What a video would cost at most, as far as list prices tell.

    :param usd: the estimate, USD.
    :param seconds: the seconds it counts, of output and of input that is billed too.
    """

    usd: float
    seconds: float

    def __str__(self) -> str:
        """For the log."""
        return (
            f"about {self.usd:.2f} USD for {self.seconds:g} s (an estimate, by [wan] usd_per_second or list prices of "
            f"{RATES_AS_OF})"
        )


def estimate_cost(
    gateway: str, model: str, resolution: str, seconds: float, rates: Mapping[str, Any] | None = None
) -> float | None:
    """USD that a video would cost, or None where no rate is known.

    :param gateway: ``apiyi`` or ``dashscope``.
    :param model: model id; a dated snapshot costs what its family does.
    :param resolution: ``480P``, ``720P`` or ``1080P``.
    :param seconds: length of the video.
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
    """What a request would cost at most, or None where no rate, or no bound of its length, is known.

    :param gateway: ``apiyi`` or ``dashscope``.
    :param request: the request.
    :param input_seconds: lengths of its input videos, s, where they were measured.
    """
    measured = list(input_seconds)
    known = None if not measured or None in measured else sum(length for length in measured if length is not None)
    output = request.seconds
    if output is None:
        # It follows its source, or the model decides: the most it can be.
        output = request.longest_seconds
    if output is None:
        return None
    billed_input = request.billed_input_seconds
    if known is not None:
        billed_input = min(billed_input, known)
        output = min(output, known) if request.follows_source else output
    seconds = output + billed_input
    usd = estimate_cost(gateway, request.model, request.resolution, seconds)
    return None if usd is None else CostEstimate(usd, seconds)


def check_cost(estimate: CostEstimate | None, max_cost: float | None) -> None:
    """Hold a task to what it may spend.

    :param estimate: what the video would cost.
    :param max_cost: what the task may spend, USD; None for no limit.
    :raises CostLimitExceeded: when it would cost more, or nobody knows.
    """
    if max_cost is None:
        return
    if estimate is None:
        raise CostLimitExceeded(
            f"The task may spend {max_cost:g} USD (max_cost), and what this video costs is not known. "
            "Set its rate in [wan] usd_per_second, or leave max_cost out."
        )
    if estimate.usd > max_cost:
        raise CostLimitExceeded(f"The video would cost {estimate}; the task may spend {max_cost:g} USD (max_cost).")


def settle_cost(gateway: str, model: str, resolution: str | None, usage: Mapping[str, Any]) -> float | None:
    """USD by what the gateway says it billed, or None where it does not say, or no rate is known.

    :param gateway: ``apiyi`` or ``dashscope``.
    :param model: model id.
    :param resolution: the resolution asked for, for answers that name none.
    :param usage: the answer's ``usage``: ``duration`` (s, input included), ``SR`` (720) and ``video_count``; older
        models say ``video_duration``.
    """
    seconds = _number(usage.get("duration")) or _number(usage.get("video_duration"))
    lines = _number(usage.get("SR"))
    tier = f"{lines:g}P" if lines else resolution
    if not seconds or tier is None:
        return None
    return estimate_cost(gateway, model, tier, seconds * (_number(usage.get("video_count")) or 1))


def _number(value: object) -> float | None:
    """A positive number, given as one or as text; None for all else that a gateway may say."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        return None
    return number if 0 < number < float("inf") else None


def configured_rates() -> Mapping[str, Any]:
    """The rates of ``[wan] usd_per_second``, empty where nothing is set.

    :raises ValueError: when the option is no JSON object of gateway → model → resolution → USD.
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
