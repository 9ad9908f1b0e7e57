"""A worker is frozen while it prepares media, Airflow's retry buys the video, and then the worker goes on.

`make test-system` runs this on the newest Airflow, which keeps purchases in the task state store; `make
test-system-older` on Airflow 3.2, which keeps them in Variables.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING

import psutil
import pytest
from airflow_processes import wait_for
from file_host import FileHost
from hostile_gateway import HostileGateway
from media_files import image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

    from journeys import Stage

FIRST_FRAME = "/first.png"
HELD_S = 180.0
"""Longest time in seconds for which the media host holds its answer."""


class HoldingHost(FileHost):
    """A file host that keeps its first client waiting until it is told to answer; it answers all others at once."""

    def __init__(self) -> None:
        super().__init__()
        self.release = Event()
        self.serves("/plain", 200, image(), Content_Type="image/png")
        self.answers[FIRST_FRAME] = self._answer

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        if len(self.requests) == 1:
            self.release.wait(HELD_S)
        self.answers["/plain"](handler)


@pytest.fixture
def media_host() -> Iterator[HoldingHost]:
    """Start a media host that holds its first answer."""
    with HoldingHost() as host:
        yield host
        host.release.set()


def is_running(process: psutil.Process) -> bool:
    """Return whether a process has not ended."""
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def test_a_worker_that_was_frozen_while_the_retry_bought_buys_nothing(stage: Stage, media_host: HoldingHost) -> None:
    with HostileGateway(stage.quick.url) as gateway:
        journey = stage.start("frozen worker", through=gateway, first_frame=media_host.base_url + FIRST_FRAME)
        wait_for("the request for the first frame", lambda: media_host.requests)
        (task,) = stage.airflow.tasks_connected_to(media_host.base_url)
        worker = task.parent()
        assert worker is not None
        for process in (worker, task):
            process.suspend()

        wait_for("the create of the retry", gateway.creates, HELD_S)
        media_host.release.set()
        # The worker would end the task as soon as Airflow refuses its heartbeat, so the task gets a head start.
        for process in (task, worker):
            process.resume()
        wait_for("the end of the thawed task", lambda: not is_running(task))

        assert journey.wait_for_end() == "success", journey.log()
        assert len(gateway.creates()) == 1
    assert journey.instance()["try_number"] == 2
    assert journey.billed() == len(journey.creates()) == 1
    assert journey.has_whole_video()
    assert journey.xcom("wan_video")["wan_task_id"] == journey.creates()[0]["task_id"]
