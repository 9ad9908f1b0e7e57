"""A video that is as long as its sound track, from the order to the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from media_files import tone
from task_runner import out_of_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def voice(tmp_path: Path) -> str:
    path = tmp_path / "voice.wav"
    path.write_bytes(tone(2.6))
    return str(path)


@pytest.fixture
def spoken(connect_to: Callable[[str], Any], film: Callable[..., Any], voice: str) -> Callable[..., Any]:
    connect_to("dashscope")
    return lambda **named: film(**{"driving_audio": voice, "duration": "audio"} | named)


def test_price_order_and_file_have_the_length_of_the_track(
    spoken: Callable[..., Any], wan_emulator: Any, runner: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = runner.run(spoken())

    (bought,) = wan_emulator.ledger()
    assert runner.instance.xcoms["wan_video"]["duration_s"] == pytest.approx(3.0, abs=0.1)
    assert "0.30 USD for 3 s" in caplog.text
    assert bought["billed"]
    with open(f"{path}.json", encoding="utf-8") as record:  # noqa: PTH123 - the path is the task's own text
        assert json.load(record)["inspection"]["shortcomings"] == []


def test_max_cost_counts_the_length_of_the_track(spoken: Callable[..., Any], wan_emulator: Any, runner: Any) -> None:
    with pytest.raises(Exception, match="max_cost"):
        runner.run(spoken(max_cost=0.25))

    assert wan_emulator.ledger() == []
    runner.run(spoken(max_cost=0.31))
    assert len(wan_emulator.ledger()) == 1


def test_a_retry_fetches_the_paid_video(spoken: Callable[..., Any], wan_emulator: Any, runner: Any) -> None:
    with out_of_time(wan_emulator):
        runner.run(spoken(timeout=0.01))
    runner.run(spoken())

    assert len(wan_emulator.ledger()) == 1


def test_a_video_that_is_there_is_reused(spoken: Callable[..., Any], wan_emulator: Any, runner: Any) -> None:
    runner.run(spoken())
    runner.run(spoken())

    assert len(wan_emulator.ledger()) == 1
