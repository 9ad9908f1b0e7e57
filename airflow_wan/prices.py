"""What a video would cost: an estimate from dated list prices, or from the rates in Airflow's configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_wan.api.models import family_of

if TYPE_CHECKING:
    from collections.abc import Mapping

RATES_AS_OF = "2026-08"

# USD a second of video, by gateway, model family and resolution. APIYI: its price list (RMB x 0.14). DashScope: the
# international (Singapore) list prices of 2026-08-24. Prices drift and top-ups earn bonuses: an estimate, no more.
SHIPPED_RATES: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "apiyi": {
        "wan2.7-i2v": {"720P": 0.084, "1080P": 0.14},
        "happyhorse-1.1-i2v": {"720P": 0.126, "1080P": 0.224},
    },
    "dashscope": {
        "wan2.7-i2v": {"720P": 0.10, "1080P": 0.15},
        "wan2.6-i2v": {"720P": 0.10, "1080P": 0.15},
        "happyhorse-1.1-i2v": {"720P": 0.14, "1080P": 0.18},
        "happyhorse-1.0-i2v": {"720P": 0.14, "1080P": 0.24},
    },
}


def estimate_cost(
    gateway: str, model: str, resolution: str, seconds: float, rates: Mapping[str, Any] | None = None
) -> float | None:
    """USD that a video would cost, or None where no rate is known.

    :param gateway: ``apiyi`` or ``dashscope``.
    :param model: model id; a dated snapshot costs what its family does.
    :param resolution: ``720P`` or ``1080P``.
    :param seconds: length of the video.
    :param rates: rates like `SHIPPED_RATES`; by default those of ``[wan] usd_per_second`` over the shipped ones.
    """
    for table in (rates if rates is not None else configured_rates(), SHIPPED_RATES):
        for name in (model, family_of(model)):
            rate = table.get(gateway, {}).get(name, {}).get(resolution)
            if rate is not None:
                return round(float(rate) * seconds, 4)
    return None


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
