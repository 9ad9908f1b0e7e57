"""`dry_run=True`: everything that costs nothing is done, told and checked, and nothing is bought."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, BaseOperator
from PIL import Image

from airflow_wan.exceptions import BudgetExceeded, CostLimitExceeded, InvalidVideoRequest
from airflow_wan.operators.wan import WanSubmitVideoOperator, WanTextToVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def gateway(connect_to: Callable[[str], Any]) -> Any:
    return connect_to("dashscope")


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.linear_gradient("L").resize((320, 320)).convert("RGB").save(tmp_path / "frame.png")
    return str(tmp_path / "frame.png")


def requests(gateway: Any) -> list[str]:
    """The kinds of request that the gateway has got."""
    return [kind for kind, count in gateway.emulator.counts().items() if count]


@pytest.mark.parametrize("dry_run", [True, "True", "true"])
def test_nothing_is_uploaded_sent_or_bought_and_the_estimate_is_told(
    dry_run: Any,
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    picture: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    with pytest.raises(AirflowSkipException, match=r"would be bought for about 0\.20 USD"):
        runner.run(film(dry_run=dry_run, first_frame=picture))

    status = runner.instance.xcoms["wan_status"]
    assert gateway.emulator.ledger() == []
    assert gateway.emulator.uploads() == []
    assert (status["state"], status["estimated_usd"], status["model"]) == ("dry_run", 0.2, "wan2.7-i2v")
    assert status["sources"][0]["digest"]
    assert "wan_video" not in runner.instance.xcoms
    assert runner.store.rows == {}
    assert "about 0.20 USD" in caplog.text
    assert not (tmp_path / "film.mp4").exists()


def test_a_submit_is_skipped_too(gateway: Any, runner: Any) -> None:
    task = WanSubmitVideoOperator(
        task_id="submit", model="wan2.7-t2v", prompt="x", parameters={"duration": 2}, dry_run=True
    )

    with pytest.raises(AirflowSkipException):
        runner.run(task)

    assert gateway.emulator.ledger() == []
    assert set(runner.instance.xcoms) == {"wan_status"}


def test_the_option_is_over_what_a_task_says(
    film: Callable[..., Any], gateway: Any, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__DRY_RUN", "True")

    with pytest.raises(AirflowSkipException):
        runner.run(film(dry_run=False))

    assert gateway.emulator.ledger() == []


@pytest.mark.parametrize("dry_run", [False, "False", "", "None", None])
def test_what_is_no_dry_run_buys(dry_run: Any, film: Callable[..., Any], gateway: Any, runner: Any) -> None:
    runner.run(film(dry_run=dry_run))

    assert len(gateway.emulator.ledger()) == 1


def test_what_is_neither_true_nor_false_buys_nothing(film: Callable[..., Any], gateway: Any, runner: Any) -> None:
    with pytest.raises(InvalidVideoRequest, match="dry_run must be True or False, got 'perhaps'"):
        runner.run(film(dry_run="perhaps"))

    assert gateway.emulator.ledger() == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"max_cost": 0.1}, CostLimitExceeded),
        ({"first_frame": "/nowhere/frame.png"}, InvalidVideoRequest),
        ({"resolution": "4K"}, InvalidVideoRequest),
        ({"output_path": "s3:/bucket/film.mp4"}, InvalidVideoRequest),
    ],
)
def test_what_would_fail_fails(
    arguments: dict[str, Any], problem: type[Exception], film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    with pytest.raises(problem) as failed:
        runner.run(film(dry_run=True, **arguments))

    assert isinstance(failed.value, AirflowFailException)


def test_a_budget_that_has_no_room_is_told_and_nothing_is_reserved(
    film: Callable[..., Any], gateway: Any, runner: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__BUDGET_BASE", str(tmp_path / "budget"))
    monkeypatch.setenv("AIRFLOW__WAN__MAX_COST_PER_DAG_RUN", "0.3")

    with pytest.raises(AirflowSkipException):
        runner.run(film(dry_run=True))
    with pytest.raises(BudgetExceeded):
        runner.run(film(dry_run=True, duration=5))

    assert list(tmp_path.rglob("*.json")) == []


def test_a_video_that_is_there_or_bought_is_handed_on_as_ever(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    path = runner.run(film())
    assert runner.run(film(dry_run=True)) == path
    (tmp_path / "film.mp4").unlink()
    runner.run(film(reuse=False), killed_before_success=True)
    assert runner.run(film(dry_run=True, reuse=False)) == path

    assert len(gateway.emulator.ledger()) == 2


def test_a_purchase_that_would_be_replaced_is_not_canceled(
    film: Callable[..., Any], gateway: Any, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.run(film(), killed_before_success=True)

    with pytest.raises(AirflowSkipException):
        runner.run(film(prompt="Snow falls.", on_changed_request="resubmit", dry_run=True))
    runner.run(film())

    assert [row["billed"] for row in gateway.emulator.ledger()] == [True]


@pytest.mark.skipif(not hasattr(BaseOperator, "dry_run"), reason="operators of Airflow 3.0 have no such method")
def test_airflows_own_method_of_that_name_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    task = WanTextToVideoOperator(task_id="x", prompt="Waves at dawn.", dry_run=True)
    told: list[str] = []
    monkeypatch.setattr(type(task), "log", SimpleNamespace(info=lambda text, *_: told.append(text)))

    task.dry_run()

    assert "Waves at dawn." in told
