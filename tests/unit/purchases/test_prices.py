"""What a video would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_wan.api.gateways import DASHSCOPE
from airflow_wan.api.requests import build_video_request
from airflow_wan.purchases.prices import estimate_cost, estimate_request, settle_cost

if TYPE_CHECKING:
    from airflow_wan.api.requests import VideoRequest


def test_list_prices_count_by_the_second() -> None:
    assert estimate_cost("apiyi", "wan2.7-i2v", "720P", 5) == 0.42
    assert estimate_cost("apiyi", "wan2.7-i2v-2026-04-25", "1080P", 5) == 0.70


def test_an_unknown_rate_is_none_and_not_nothing() -> None:
    assert estimate_cost("apiyi", "wan9", "720P", 5) is None


def test_configured_rates_go_over_the_shipped_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__USD_PER_SECOND", '{"apiyi": {"wan2.7-i2v": {"720P": 0.5}}}')

    assert estimate_cost("apiyi", "wan2.7-i2v", "720P", 2) == 1.0
    assert estimate_cost("apiyi", "wan2.7-i2v", "1080P", 2) == 0.28


@pytest.mark.parametrize("text", ["{", "[1]", '{"apiyi": 3}', '{"apiyi": {"wan2.7-i2v": {"720P": "free"}}}'])
def test_rates_that_are_none_are_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__USD_PER_SECOND", text)

    with pytest.raises(ValueError, match="usd_per_second"):
        estimate_cost("apiyi", "wan2.7-i2v", "720P", 2)


def edit(**parameters: object) -> VideoRequest:
    return build_video_request(
        gateway=DASHSCOPE,
        base_url=DASHSCOPE.default_base_url,
        model="wan2.7-videoedit",
        prompt="a red jacket",
        media=[{"type": "video", "url": "https://cdn.example.com/clip.mp4"}],
        parameters=parameters,
    )


def test_an_edit_is_as_long_as_its_source_and_pays_for_both() -> None:
    estimate = estimate_request("dashscope", edit(), [3.8])

    assert estimate is not None
    assert (estimate.seconds, estimate.usd) == (8.0, 0.8)


def test_an_edit_of_a_clip_that_was_not_measured_counts_the_longest_one() -> None:
    estimate = estimate_request("dashscope", edit(), [None])

    assert estimate is not None
    assert estimate.seconds == 20


def test_a_model_without_a_rate_has_no_estimate() -> None:
    request = build_video_request(
        gateway=DASHSCOPE, base_url=DASHSCOPE.default_base_url, model="wan9-t2v", prompt="a kite"
    )

    assert estimate_request("dashscope", request) is None


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        ({"duration": 5, "SR": 720}, 0.5),
        ({"video_duration": "5", "SR": "1080", "video_count": 2}, 1.5),
        ({"duration": True}, None),
        ({"duration": "a while"}, None),
        ({"duration": 10**400}, None),
        ({"duration": 5.0, "input_video_duration": 8, "output_video_duration": 5, "SR": 720}, 1.3),
        ({"duration": 13.0, "input_video_duration": 8, "output_video_duration": 5, "SR": 720}, 1.3),
        ({"duration": 5, "SR": "1080P"}, 0.75),
        ({}, None),
    ],
)
def test_a_bill_is_settled_by_what_the_gateway_says_it_used(usage: dict[str, Any], usd: float | None) -> None:
    assert settle_cost("dashscope", "wan2.7-i2v", "720P", usage) == usd
