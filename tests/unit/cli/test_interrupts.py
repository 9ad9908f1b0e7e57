"""What a command says that a signal stops; test_paid_once.py shows what becomes of its video."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from command_lines import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command_lines import CommandLine

pytestmark = pytest.mark.stays_queued


@pytest.fixture
def stop_when() -> Iterator[Callable[..., None]]:
    """Return a function that sends SIGINT to this process as soon as something is so, and does something afterwards."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def stop_when(is_so: Callable[[], object], afterwards: Callable[[], object] = lambda: None) -> None:
        def stop() -> None:
            wait_until(lambda: is_so() or over.is_set())
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGINT)
                afterwards()

        threads.append(threading.Thread(target=stop))
        threads[-1].start()

    yield stop_when
    over.set()
    for thread in threads:
        thread.join()


def is_polled(line: CommandLine) -> bool:
    return line.emulator.counts()["poll"]["requests"] > 1


def test_a_video_that_goes_on(line: CommandLine, stop_when: Callable[..., None]) -> None:
    stop_when(lambda: is_polled(line))

    done = line.generate()

    assert done.code == 130
    assert f"airflow-wan fetch -o {line.video}" in done.err
    assert ("airflow-wan cancel" in done.err) == (line.gateway == "dashscope")
    assert done.json["error"] == {
        "kind": "Stopped",
        "message": done.json["error"]["message"],
        "advice": done.json["error"]["advice"],
        "billed": None,
        "exit_code": 130,
        "code": None,
        "request_id": None,
        "wan_task_id": line.bought[0],
        "http_status": None,
        "kept_at": None,
    }


def test_a_create_request_that_is_answered_a_little_later(line: CommandLine, stop_when: Callable[..., None]) -> None:
    line.emulator.add_fault("create", "hold")
    stop_when(lambda: line.emulator.faults()[0]["holding"], line.emulator.release_faults)

    done = line.generate()

    assert done.code == 130
    assert "Waiting for the gateway's answer" in done.err
    assert line.record["wan_task_id"] == line.bought[0]


def test_a_fetch(line: CommandLine, stop_when: Callable[..., None]) -> None:
    stop_when(lambda: is_polled(line))
    line.generate()
    other = line.folder / "other.mp4"
    seen = line.emulator.counts()["poll"]["requests"]
    stop_when(lambda: line.emulator.counts()["poll"]["requests"] > seen + 1)

    done = line.run("fetch", line.bought[0], "-o", str(other), "--json")

    assert done.code == 130
    assert f"airflow-wan fetch {line.bought[0]} -o {other}" in done.err
    assert not other.exists()
