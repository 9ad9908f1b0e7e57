"""Each kind of error has an exit code, which the documentation tells, and says what to do at a prompt."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_wan import exceptions
from airflow_wan.cli.failures import EXIT_CODES, UNEXPECTED, advice_on, exit_code

if TYPE_CHECKING:
    from command_lines import CommandLine

PAGE = (Path(__file__).parents[3] / "docs" / "command_line.md").read_text()
_, PUBLIC_TREE, _ = (exceptions.__doc__ or "").split("    WanError\n")
# A command is within no budget.
PUBLIC_ERRORS = {getattr(exceptions, name) for name in re.findall(r"── (\w+)", PUBLIC_TREE)} - {
    exceptions.BudgetExceeded
}


def made(kind: type[exceptions.WanError]) -> exceptions.WanError:
    first = next(iter(inspect.signature(kind).parameters))
    return kind(["x"]) if first == "problems" else kind("x")  # type: ignore[arg-type]


def test_each_error_that_users_meet_has_an_exit_code() -> None:
    # A kind of error may have the code of the one that it is derived from.
    assert {kind for kind in PUBLIC_ERRORS if exit_code(made(kind)) == 1} == set()
    assert min(EXIT_CODES.values()) > 2
    assert max(EXIT_CODES.values()) < 64


def test_the_page_tells_the_exit_code_of_each_error() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]*) \|", PAGE, re.MULTILINE)
    told = {name: int(code) for code, names in rows for name in re.findall(r"`(\w+)`", names)}

    assert told == {"WanError": UNEXPECTED, **{kind.__name__: code for kind, code in EXIT_CODES.items()}}


@pytest.mark.parametrize("kind", sorted(EXIT_CODES, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_no_advice_speaks_of_airflow(kind: type[exceptions.WanError]) -> None:
    assert not re.search(r"Sensor|clear the task|\bretry\b|pool", advice_on(made(kind)))


@pytest.mark.parametrize(
    ("on", "fault", "code", "kind"),
    [
        ("create", {"kind": "unauthorized"}, 3, "AuthenticationFailed"),
        ("create", {"kind": "insufficient_balance"}, 5, "BalanceExhausted"),
        ("create", {"kind": "bad_gateway"}, 8, "SubmitAmbiguous"),
        ("create", {"kind": "task_failed"}, 10, "VideoTaskFailed"),
        ("download", {"kind": "corrupt", "times": None}, 13, "VideoDownloadFailed"),
    ],
)
def test_a_command_returns_the_code_of_its_error(
    line: CommandLine, no_pauses: None, on: str, fault: dict[str, object], code: int, kind: str
) -> None:
    line.emulator.add_fault(on, **fault)

    done = line.generate()

    assert (done.json["error"]["kind"], done.code) == (kind, code)
    assert done.json["error"]["exit_code"] == code
    assert done.json["error"]["advice"] in done.err


def test_a_request_that_is_wrong(line: CommandLine) -> None:
    assert line.generate("--seed", "-5").code == 4
    assert line.generate("--max-cost", "0.01").code == 5
    assert line.generate("--timeout", "0").code == 4
    assert line.generate("--acceptance", "lenient").code == 4
    assert line.generate("--on-ambiguous-submit", "hope").code == 4
    assert line.bought == []


@pytest.mark.stays_queued
def test_a_wait_that_is_over(dashscope: CommandLine) -> None:
    dashscope.emulator.add_fault("poll", "unknown_status", times=None, word="DREAMING")

    done = dashscope.generate("--timeout", "1")

    assert done.code == 12
    assert dashscope.record["state"] == "submitted"


def test_an_error_that_nobody_thought_of_is_one_line(dashscope: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__USD_PER_SECOND", "{")

    done = dashscope.run("estimate", "-m", "wan2.7-t2v", "-p", "x")

    assert done.code == 1
    assert "usd_per_second" in done.err
    assert "Traceback" not in done.err
