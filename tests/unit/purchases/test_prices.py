"""What a video would cost."""

from __future__ import annotations

import pytest

from airflow_wan.purchases.prices import estimate_cost


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
