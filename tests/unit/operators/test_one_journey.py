"""A try asks once for each thing it needs; each operator declares its arguments once, and describes all of them."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from task_runner import out_of_time

from airflow_wan.hooks.wan import WanHook
from airflow_wan.operators import wan as operators
from airflow_wan.purchases.ledger import open_ledger
from airflow_wan.sensors.wan import WanVideoSensor
from airflow_wan.videos.destination import Destination

if TYPE_CHECKING:
    from collections.abc import Callable

OPERATORS = [getattr(operators, name) for name in operators.__all__]
OURS = [*OPERATORS, WanVideoSensor]


@pytest.fixture
def counts(runner: Any, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a try looks its connection up, reads its ledger and prepares its destination."""
    counted: Counter[str] = Counter()

    def count(owner: Any, name: str, what: str) -> None:
        original = getattr(owner, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            counted[what] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    count(WanHook, "_look_up", "connection look-ups")
    context: Any = {"ti": runner.instance, "task_state_store": runner.store if runner.has_state_store else None}
    count(type(open_ledger(context)), "read", "ledger reads")
    count(Destination, "prepare", "destinations prepared")
    return counted


ONCE = {"connection look-ups": 1, "ledger reads": 1, "destinations prepared": 1}

BUYING = 3
"""Further reads of a try that buys: before the intent is written, before the request is sent, before the id is written.
Between them, another try may have bought."""


@pytest.mark.parametrize("gateway", ["dashscope"], indirect=True)
def test_a_try_that_waits_on_a_worker_asks_for_everything_once_until_it_buys(
    film: Callable[..., Any], gateway: Any, runner: Any, counts: Counter[str]
) -> None:
    runner.run(film(deferrable=False))

    assert counts == ONCE | {"ledger reads": 1 + BUYING}


@pytest.mark.parametrize("gateway", ["dashscope"], indirect=True)
def test_a_retry_that_finds_what_was_bought_asks_for_everything_once(
    film: Callable[..., Any], gateway: Any, runner: Any, counts: Counter[str]
) -> None:
    with out_of_time(gateway.emulator):
        runner.run(film(timeout=0.01, deferrable=False))
    counts.clear()
    runner.run(film(deferrable=False))

    assert counts == ONCE


@pytest.mark.stays_queued
@pytest.mark.parametrize("gateway", ["dashscope"], indirect=True)
def test_a_deferred_try_asks_once_before_and_once_after_its_trigger(
    film: Callable[..., Any], gateway: Any, runner: Any, counts: Counter[str]
) -> None:
    runner.before_firing = lambda: gateway.emulator.advance_clock(7200)
    runner.run(film())

    assert len(runner.events) == 1
    assert counts == {what: 2 * times for what, times in ONCE.items()} | {"ledger reads": 2 + BUYING}


@pytest.mark.parametrize("operator", OURS, ids=lambda operator: operator.__name__)
def test_every_argument_is_described_in_the_docstring(operator: type) -> None:
    arguments = {
        name
        for kind in operator.__mro__
        if kind.__module__.startswith("airflow_wan.")
        for name, parameter in inspect.signature(kind.__init__).parameters.items()  # type: ignore[misc]
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }

    described = re.findall(r"^:param (\w+):", inspect.cleandoc(operator.__doc__ or ""), re.MULTILINE)
    assert sorted(described) == sorted(arguments)
    assert (operator.__doc__ or "").count(":returns:") == 1


@pytest.mark.parametrize("operator", OURS, ids=lambda operator: operator.__name__)
def test_every_templated_argument_says_so(operator: Any) -> None:
    documented = inspect.cleandoc(operator.__doc__)
    # Each operator of Airflow has a method that is called dry_run.
    arguments = {"dry_run" if name == "is_dry_run" else name for name in operator.template_fields}

    assert set(re.findall(r"^:param (\w+): \([^)]*templated\)", documented, re.MULTILINE)) == arguments


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_media_are_declared_once_and_are_template_fields(operator: Any) -> None:
    for role in getattr(operator, "media_roles", ()):
        assert role in operator.template_fields
        assert role in inspect.signature(operator.__init__).parameters


def test_a_reference_may_be_a_url_a_dict_or_a_list_of_either() -> None:
    voiced = {"url": "https://cdn.example.com/b.png", "reference_voice": "https://cdn.example.com/b.mp3"}
    task = operators.WanReferenceToVideoOperator(
        task_id="refer",
        prompt="image 1 talks to image 2",
        reference_image=["https://cdn.example.com/a.png", voiced],
        reference_video="https://cdn.example.com/c.mp4",
        ratio="16:9",
    )

    assert task.request_media() == [
        {"type": "reference_image", "url": "https://cdn.example.com/a.png"},
        {"type": "reference_image", **voiced},
        {"type": "reference_video", "url": "https://cdn.example.com/c.mp4"},
    ]
    assert task.request_parameters() == {"duration": 5, "ratio": "16:9"}
