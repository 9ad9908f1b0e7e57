"""Whatever ends a command, the same command goes on: one create request in all."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from command_lines import LONGEST_WAIT_S, TEXT_TO_VIDEO, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command_lines import CommandLine, Done, Started

STOP, KILL = signal.SIGINT, signal.SIGKILL
A_STAGE_S = 1001.0
"""Seconds of the emulator's clock after which a video of these tests has left a stage."""

pytestmark = pytest.mark.stays_queued


def assert_told(line: CommandLine, done: Done, number: signal.Signals) -> None:
    """A command that was interrupted says what goes on, and how to fetch it."""
    if number == KILL:
        assert done.code == -KILL
        return
    assert done.code == 128 + number
    (wan_task_id,) = line.bought
    assert wan_task_id in done.err
    assert f"airflow-wan fetch -o {line.video}" in done.err
    assert done.json["error"]["wan_task_id"] == wan_task_id
    assert done.json["error"]["billed"] is None


def assert_goes_on(line: CommandLine) -> None:
    """The same command brings the one video home that was bought."""
    done = line.generate()

    assert done.code == 0, done.err
    assert [done.json["wan_task_id"]] == line.bought
    assert line.video.exists()
    assert line.sidecar["airflow"] is None
    assert line.record == {}
    assert sorted(path.name for path in line.folder.iterdir()) == ["out.mp4", "out.mp4.json"]


def stopped(line: CommandLine, process: Started, number: signal.Signals) -> Done:
    process.signal(number)
    return line.end(process)


def polls(line: CommandLine) -> int:
    return line.emulator.counts()["poll"]["requests"]


@pytest.mark.parametrize("number", [STOP, KILL])
def test_before_the_create_request(line: CommandLine, number: signal.Signals) -> None:
    line.emulator.add_fault("create", "throttled", times=None, retry_after=3600)
    process = line.start_generate()
    wait_until(lambda: line.emulator.counts()["create"]["throttled"] == 1 and not line.record, process)

    done = stopped(line, process, number)

    assert line.bought == []
    if number == STOP:
        assert done.code == 130
        assert "Nothing was bought" in done.err
    line.emulator.clear_faults()
    process = line.start_generate()
    wait_until(lambda: line.bought, process)
    line.emulator.advance_clock(2 * A_STAGE_S)
    assert line.end(process).code == 0
    assert len(line.bought) == 1


@pytest.fixture
def asked(line: CommandLine) -> Started:
    """A command whose create request was accepted, and has no answer yet."""
    line.emulator.add_fault("create", "hold")
    process = line.start_generate()
    wait_until(lambda: line.emulator.faults()[0]["holding"], process)
    return process


@pytest.mark.parametrize("number", [STOP, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_waits_for_the_answer_to_the_create_request(
    line: CommandLine, asked: Started, number: signal.Signals
) -> None:
    asked.signal(number)
    wait_until(lambda: "Waiting for the gateway's answer" in asked.err, asked)
    line.emulator.release_faults()

    assert_told(line, line.end(asked), number)

    line.emulator.advance_clock(2 * A_STAGE_S)
    assert_goes_on(line)


def test_an_interrupt_whose_reader_has_gone_waits_for_the_answer_too(
    apiyi: CommandLine, command_process: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """As behind `2>&1 | tee log`, which Ctrl-C ends first: what cannot be said stops nothing."""
    apiyi.emulator.add_fault("create", "hold")
    process = command_process("generate", *TEXT_TO_VIDEO, "-o", str(apiyi.video))
    wait_until(lambda: apiyi.emulator.faults()[0]["holding"])
    assert process.stdout is not None
    process.stdout.close()

    process.send_signal(STOP)
    apiyi.emulator.release_faults()

    assert process.wait(LONGEST_WAIT_S) == 128 + STOP
    assert apiyi.record["wan_task_id"] == apiyi.bought[0]


def test_a_command_outlives_its_terminal_with_nohup(
    apiyi: CommandLine, command_process: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = command_process("generate", *TEXT_TO_VIDEO, "-o", str(apiyi.video), preexec_fn=ignore_hangups)
    wait_until(lambda: polls(apiyi))

    process.send_signal(signal.SIGHUP)
    apiyi.emulator.advance_clock(2 * A_STAGE_S)

    assert process.wait(LONGEST_WAIT_S) == 0
    assert apiyi.video.exists()


@pytest.mark.parametrize("number", [STOP, KILL])
def test_during_the_create_request(line: CommandLine, asked: Started, number: signal.Signals) -> None:
    if number == STOP:  # the first one waits
        asked.signal(STOP)
        wait_until(lambda: "Waiting for the gateway's answer" in asked.err, asked)

    done = stopped(line, asked, number)

    assert line.record["state"] == "intent"
    if number == STOP:
        assert done.code == 130
        assert "may be billed" in done.err
    line.emulator.clear_faults()
    line.emulator.advance_clock(2 * A_STAGE_S)
    if line.gateway == "dashscope":
        assert_goes_on(line)
        return
    # APIYI has no list in which the lost Wan task could be found: a person looks, and names it.
    done = line.generate()
    assert done.code == 8
    assert done.json["error"]["kind"] == "PurchaseUncertain"
    (wan_task_id,) = line.bought
    assert line.run("fetch", wan_task_id, "-o", str(line.video)).code == 0
    assert_goes_on(line)


@pytest.mark.parametrize("number", [STOP, KILL, signal.SIGTERM])
def test_while_the_video_is_queued(line: CommandLine, number: signal.Signals) -> None:
    process = line.start_generate()
    wait_until(lambda: polls(line), process)

    done = stopped(line, process, number)

    assert_told(line, done, number)
    line.emulator.advance_clock(2 * A_STAGE_S)
    assert_goes_on(line)


@pytest.mark.parametrize("number", [STOP, KILL])
def test_while_the_video_is_made(line: CommandLine, number: signal.Signals) -> None:
    process = line.start_generate()
    wait_until(lambda: line.bought, process)
    line.emulator.advance_clock(A_STAGE_S)
    seen = polls(line)
    wait_until(lambda: polls(line) > seen + 1, process)

    done = stopped(line, process, number)

    assert_told(line, done, number)
    line.emulator.advance_clock(A_STAGE_S)
    assert_goes_on(line)


@pytest.mark.parametrize("number", [STOP, KILL])
def test_during_the_download(line: CommandLine, number: signal.Signals) -> None:
    line.emulator.add_fault("download", "hold", at_bytes=1000)
    process = line.start_generate()
    wait_until(lambda: line.bought, process)
    line.emulator.advance_clock(2 * A_STAGE_S)
    wait_until(lambda: line.emulator.faults()[0]["holding"], process)

    done = stopped(line, process, number)

    assert_told(line, done, number)
    line.emulator.clear_faults()
    assert_goes_on(line)


def test_two_at_the_same_moment(line: CommandLine) -> None:
    line.emulator.add_fault("create", "hold")
    both = [line.start_generate(), line.start_generate()]
    wait_until(lambda: any(process.has_ended for process in both) and line.emulator.faults()[0]["holding"])
    line.emulator.clear_faults()
    line.emulator.advance_clock(2 * A_STAGE_S)

    codes = sorted(line.end(process).code for process in both)

    assert codes == [0, 7]
    assert any("Another process is making the video" in process.err for process in both)
    assert len(line.bought) == 1
    assert_goes_on(line)


def test_killed_before_the_record_is_removed(dashscope: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    process = dashscope.start_generate()
    wait_until(lambda: dashscope.record.get("state") == "submitted", process)
    record = json.dumps(dashscope.record)
    dashscope.emulator.advance_clock(2 * A_STAGE_S)
    assert dashscope.end(process).code == 0
    (dashscope.folder / "out.mp4.purchase.json").write_text(record)

    done = dashscope.generate()

    assert done.json["reused"]
    assert dashscope.record == {}
    assert len(dashscope.bought) == 1


def test_a_record_that_cannot_be_removed_does_not_hide_the_video(dashscope: CommandLine) -> None:
    process = dashscope.start_generate()
    wait_until(lambda: dashscope.record.get("state") == "submitted", process)
    (dashscope.folder / ".out.mp4.purchase.json.draft" / "in the way").mkdir(parents=True)
    dashscope.emulator.advance_clock(2 * A_STAGE_S)

    done = dashscope.end(process)

    assert (done.code, done.json["wan_task_id"]) == (0, dashscope.bought[0])
    assert "cannot be removed" in done.err


def test_a_video_bought_anew_is_bought_once_too(dashscope: CommandLine, finish: Callable[[CommandLine], None]) -> None:
    finish(dashscope)
    process = dashscope.start_generate("--new")
    wait_until(lambda: len(dashscope.bought) == 2 and dashscope.record.get("state") == "submitted", process)
    stopped(dashscope, process, KILL)
    dashscope.emulator.advance_clock(2 * A_STAGE_S)

    done = dashscope.generate("--new")

    assert done.code == 0
    assert done.json["wan_task_id"] == dashscope.bought[1]
    assert len(dashscope.bought) == 2


def ignore_hangups() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@pytest.fixture
def command_process() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Return a function that starts a command whose stdout and stderr are one pipe."""
    with contextlib.ExitStack() as ends:

        def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow_wan.cli", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                **options,
            )
            ends.enter_context(process)
            ends.callback(process.kill)
            return process

        yield start


@pytest.fixture
def finish() -> Callable[[CommandLine], None]:
    """Return a function that makes the first video."""

    def make(line: CommandLine) -> None:
        process = line.start_generate()
        wait_until(lambda: line.bought, process)
        line.emulator.advance_clock(2 * A_STAGE_S)
        assert line.end(process).code == 0

    return make
