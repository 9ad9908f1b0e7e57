"""Each kind of error has an exit code, which the documentation tells, and says what to do at a prompt."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_lines import TEXT_TO_VIDEO

from airflow_wan import exceptions
from airflow_wan.api.requests import VideoRequest
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
    assert [line.generate("--max-cost", usd).code for usd in ("nan", "-1")] == [4, 4]
    assert line.generate("--timeout", "0").code == 4
    assert line.generate("--acceptance", "lenient").code == 4
    assert line.generate("--on-ambiguous-submit", "hope").code == 4
    assert line.bought == []


def test_a_video_that_is_not_what_was_ordered(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    # The record says 7 s where the gateway was asked for 2, so that it delivers what was not ordered.
    with monkeypatch.context() as ordered:
        ordered.setattr(VideoRequest, "seconds", property(lambda _: 7))
        done = line.generate()

    error = done.json["error"]
    assert (done.code, error["kind"], error["billed"]) == (14, "VideoRejected", True)
    assert error["kept_at"] == str(line.folder / "out.rejected.mp4")
    assert "2 s long; 7 s were requested" in done.err
    assert "--acceptance warn" in error["advice"]
    assert not line.video.exists()
    assert line.generate().code == 14
    done = line.generate("--acceptance", "warn")
    assert (done.code, done.json["wan_task_id"]) == (0, line.bought[0])
    assert len(line.bought) == 1
    assert line.record == {}


@pytest.mark.parametrize("how", ["unknown", "unauthorized"])
def test_a_task_id_that_was_mistyped_is_not_waited_for(line: CommandLine, how: str) -> None:
    if how == "unauthorized":
        line.emulator.add_fault("poll", how, times=None)

    done = line.run("fetch", "mistyped", "-o", str(line.video), "--json")

    assert done.code == {"unknown": 11, "unauthorized": 3}[how]
    assert done.json["error"]["wan_task_id"] == "mistyped"


@pytest.mark.stays_queued
def test_trouble_is_told_while_a_video_is_waited_for(dashscope: CommandLine) -> None:
    dashscope.emulator.add_fault("poll", "unauthorized", times=None)

    done = dashscope.generate("--timeout", "1")

    assert done.code == 12
    assert "Warning: Wan task" in done.err
    assert "refusal 1 in a row" in done.err


def test_the_current_folder_was_removed(
    dashscope: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    done = dashscope.run("generate", *TEXT_TO_VIDEO, "-o", "out.mp4")

    assert done.code == 4
    assert "the current folder was removed" in done.err


@pytest.mark.parametrize("options", [["--json"], []], ids=["for a script", "for a person"])
def test_a_result_that_cannot_be_printed(dashscope: CommandLine, options: list[str]) -> None:
    generate = [sys.executable, "-m", "airflow_wan.cli", "generate", *TEXT_TO_VIDEO, "-o", str(dashscope.video)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*generate, *options], stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert done.returncode == 1
    assert "its result cannot be written to stdout: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert dashscope.video.exists()


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
