"""One DAG run that orders a video, followed from outside: at Airflow, at the gateway and on disk."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av
import psutil
from airflow_processes import Airflow, wait_for
from dag_runs import END_S, DagRun, Emulator

if TYPE_CHECKING:
    from pathlib import Path

    from hostile_gateway import HostileGateway

    from airflow_wan.emulator.testing import MediaServer

REFUSED_KEY = "sk-a-key-that-the-gateway-refuses-9999"


@dataclass
class Journey(DagRun):
    """A DAG run with an API key, a connection and a prompt of its own; `Stage.start` makes one."""

    wan_conn_id: str
    output_path: Path
    marker: Path

    def has_whole_video(self) -> bool:
        """Return whether the file at `output_path` has the gateway's bytes and every frame of it can be decoded."""
        wan_task_id = self.creates()[-1]["task_id"]
        if self.output_path.read_bytes() != self.emulator.video(self.gateway, self.key, wan_task_id):
            return False
        with av.open(str(self.output_path)) as container:
            return sum(1 for _ in container.decode(video=0)) == container.streams.video[0].frames > 0

    def files(self) -> list[str]:
        """Return the names in the video's folder, without hidden ones: a killed download leaves a ``.part`` file."""
        folder = self.output_path.parent
        return sorted(path.name for path in folder.glob("[!.]*")) if folder.exists() else []

    # Killing processes

    def wait_for_pause(self, timeout: float = END_S) -> dict[str, int]:
        """Wait until the task is held, and return the ids of its process (``task``) and of its ``worker``."""
        try:
            wait_for(f"the pause of {self.name}", self.marker.exists, timeout, pause=0.05)
        except TimeoutError as error:
            raise AssertionError(f"{error}; its log:\n{self.log()}") from None
        return dict(json.loads(self.marker.read_text()))

    def release(self) -> None:
        """Let the held task go on."""
        self.marker.with_suffix(".released").touch()

    def kill_at_pause(self, victim: str) -> None:
        """Kill the held task with SIGKILL (``task``), or its worker and then the task (``worker``)."""
        held = self.wait_for_pause()
        self._kill(victim, psutil.Process(held["task"]))

    def kill_once_accepted(self, victim: str, timeout: float = END_S) -> None:
        """Kill the task, or its worker and it, while the gateway has accepted its create and holds back the answer."""
        wait_for(f"the create of {self.name}", self.creates, timeout, pause=0.05)
        (task,) = self.airflow.tasks_connected_to(self.emulator.url)
        self._kill(victim, task)

    def _kill(self, victim: str, task: psutil.Process) -> None:
        worker = task.parent()
        assert worker is not None
        for process in (worker, task):
            assert "airflow worker" in " ".join(process.cmdline()), process.cmdline()
        for process in (worker, task) if victim == "worker" else (task,):
            process.kill()


@dataclass
class Stage:
    """An Airflow, its gateways and its media, shared by all tests of a session.

    :param quick: a gateway that needs about three seconds for a video.
    :param slow: a gateway that queues a video for `SLOW_S` seconds and then needs as long to make it, unless a test
        turns its clock.
    :param media: a server of images: ``first.png``, and one of each colour, such as ``red.png``.
    :param folder: for videos, logs and marker files.
    """

    airflow: Airflow
    quick: Emulator
    slow: Emulator
    media: MediaServer
    folder: Path
    journeys: list[Journey] = field(default_factory=list)

    def start(
        self,
        name: str,
        *,
        gateway: str = "apiyi",
        dag_id: str = "system_video",
        on: Emulator | None = None,
        through: HostileGateway | None = None,
        key: str | None = None,
        read_timeout: float = 20.0,
        pause_at: str | None = None,
        output_path: Path | None = None,
        **conf: Any,
    ) -> Journey:
        """Start a DAG run that has its own connection in Airflow's database.

        :param name: a short name for the run id and the prompt.
        :param on: the gateway; `quick` if none is given.
        :param through: what stands between Airflow and the gateway, if anything does.
        :param key: the API key; a new one if none is given.
        :param read_timeout: seconds that the client waits for each read of an answer.
        :param pause_at: the step at which the task is held; see `dags/pauses.py`.
        :param output_path: where the video goes; a new folder if none is given.
        :param conf: further params of the DAG run.
        """
        number = len(self.journeys)
        key = key or f"sk-{secrets.token_hex(16)}{number:04d}"
        slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        emulator = on or self.quick
        journey = Journey(
            name=name,
            airflow=self.airflow,
            emulator=emulator,
            gateway=gateway,
            dag_id=dag_id,
            run_id=f"{number:02d}_{slug}",
            key=key,
            wan_conn_id=f"wan_{number}",
            output_path=output_path or self.folder / "videos" / f"{number:02d}_{slug}" / "video.mp4",
            marker=self.folder / "pauses" / f"{number:02d}_{slug}",
        )
        connection = {
            "connection_id": journey.wan_conn_id,
            "conn_type": "wan",
            "host": through.url if through else emulator.url,
            "password": key,
            "extra": json.dumps({"gateway": gateway, "read_timeout": read_timeout}),
        }
        self.airflow.rest.post("/api/v2/connections", connection)
        order = {
            "prompt": f"a kite over the sea, {name}",
            "first_frame": self.media.url("first.png"),
            "wan_conn_id": journey.wan_conn_id,
            "output_path": str(journey.output_path),
            **conf,
        }
        pause = {"pause_at": pause_at, "pause_marker": str(journey.marker)} if pause_at else {}
        body = {"dag_run_id": journey.run_id, "logical_date": None, "conf": order | pause}
        self.airflow.rest.post(f"/api/v2/dags/{dag_id}/dagRuns", body)
        self.journeys.append(journey)
        return journey
