"""The cluster with its gateways and its pictures, and DAG runs on it that are followed from outside."""

from __future__ import annotations

import colorsys
import hashlib
import json
import os
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av
import psycopg2
from airflow_cluster import WORKERS, Cluster
from airflow_processes import wait_for
from dag_runs import DagRun, Emulator
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_wan.emulator.testing import MediaServer

# How many clips the largest run makes.
CLIPS = int(os.environ.get("CLIPS", "40"))
# Seconds after which nothing is waited for any more: far longer than anything takes on two cores that are busy.
LONGEST_S = 900.0
KEY_ON_WORKERS = f"sk-{'7' * 28}9998"
CONN_ON_WORKERS = "wan_on_workers"
# One leg of a task on a worker: from its start to its end or its deferral.
_LEG = re.compile(r"succeeded in ([\d.]+)s: ")


def draw_pictures(folder: Path, number: int) -> None:
    """Draw pictures of so many hues: ``0.png``, ``1.png`` and so on, and ``red.png`` and ``blue.png``."""
    light = Image.radial_gradient("L").resize((640, 360)).convert("RGB")
    hues = {str(index): colorsys.hsv_to_rgb(index / number, 0.8, 0.9) for index in range(number)}
    hues |= {"red": (1.0, 0.0, 0.0), "blue": (0.0, 0.0, 1.0)}
    for name, hue in hues.items():
        colour = Image.new("RGB", light.size, tuple(round(255 * part) for part in hue))
        Image.blend(colour, light, 0.4).save(folder / f"{name}.png")


@dataclass
class ClusterRun(DagRun):
    """A DAG run whose videos go to the S3 server.

    :param orders: what it orders, in the order of the map index.
    """

    cluster: Cluster
    orders: list[dict[str, str]]

    def wait_for_end(self, timeout: float = LONGEST_S) -> str:
        """See `DagRun.wait_for_end`."""
        return super().wait_for_end(timeout)

    def keys(self) -> list[str]:
        """Return the names of its files in the bucket, those beside the videos among them."""
        return [key.removeprefix(f"{self.run_id}/") for key in self.cluster.store.keys(f"{self.run_id}/")]

    def content(self, name: str) -> bytes:
        """Return a file of it in the bucket."""
        return self.cluster.store.content(f"{self.run_id}/{name}")

    def sidecar(self, name: str) -> dict[str, Any]:
        """Return the record beside a video."""
        return dict(json.loads(self.content(f"{name}.json")))

    def record_of(self, map_index: int) -> dict[str, Any]:
        """Return the purchase record of an instance of its mapped task."""
        return dict(self.airflow.rest.get(self._record_path("video"), map_index=map_index)["value"])

    def videos(self) -> dict[str, list[bytes]]:
        """Return the videos that the gateway made, by the picture that was ordered and the prompt."""
        made: dict[str, list[bytes]] = {}
        for row in self.creates():
            if row["billed"]:
                video = self.emulator.video(self.gateway, self.key, row["task_id"])
                made.setdefault(self._prompt(row["task_id"]), []).append(video)
        return made

    def _prompt(self, wan_task_id: str) -> str:
        task = self.emulator.task(self.gateway, self.key, wan_task_id)
        return str(task["output"]["orig_prompt"])

    def states(self) -> list[str]:
        """Return the states of the mapped instances, in their order."""
        listed = self.airflow.rest.get(f"{self._run_path}/taskInstances", task_ids="video", limit=1000)
        rows = [row for row in listed["task_instances"] if row["task_id"] == "video" and row["map_index"] >= 0]
        return [row["state"] for row in sorted(rows, key=lambda row: row["map_index"])]

    def tries(self) -> int:
        """Return the largest number of tries that an instance of its tasks has used."""
        listed = self.airflow.rest.get(f"{self._run_path}/taskInstances", limit=1000)
        return max(row["try_number"] for row in listed["task_instances"])

    def wait_until_all(self, state: str, timeout: float = LONGEST_S) -> None:
        """Wait until each of its videos is in a state."""
        wanted = [state] * len(self.orders)
        wait_for(f"{self.name}: all {state}", lambda: self.states() == wanted, timeout)

    def has_each_video_at_its_path(self) -> bool:
        """Return whether each path has, byte for byte, the one video of its order, and no more."""
        videos = self.videos()
        number = len(self.orders)
        return (
            len(videos) == number
            and all(
                videos[order["prompt"]] == [self.content(f"{index}.mp4")] for index, order in enumerate(self.orders)
            )
            and self.keys() == sorted(f"{index}.mp4{end}" for index in range(number) for end in ("", ".json"))
        )


def assert_bought_once_and_delivered(run: ClusterRun) -> None:
    """Assert that a run has succeeded, with one create and one whole file for each video that was wished."""
    assert run.wait_for_end() == "success", run.log()
    assert run.billed() == len(run.creates()) == len(run.orders)
    assert run.has_each_video_at_its_path(), run.keys()


def colour_of(video: bytes) -> str:
    """Return the colour that is strongest in the first frame of a video: red or blue."""
    import io

    with av.open(io.BytesIO(video)) as container:
        red, _, blue = next(container.decode(video=0)).to_image().resize((1, 1)).getpixel((0, 0))
    return "red" if red > blue else "blue"


def digest(video: bytes) -> str:
    return hashlib.sha256(video).hexdigest()


@dataclass
class Stage:
    """The cluster, its gateways and its pictures, shared by all tests of a session.

    :param quick: a gateway that needs some seconds for a video.
    :param slow: a gateway whose videos are only finished when its clock is turned.
    :param media: a server of pictures.
    """

    cluster: Cluster
    quick: Emulator
    slow: Emulator
    media: MediaServer
    folder: Path
    runs: list[ClusterRun] = field(default_factory=list)

    def start(
        self,
        name: str,
        pictures: list[str],
        *,
        dag_id: str = "clips",
        gateway: str = "dashscope",
        on: Emulator | None = None,
        through: str | None = None,
        prompt: str | None = None,
        wan_conn_id: str | None = None,
        key: str | None = None,
        **conf: Any,
    ) -> ClusterRun:
        """Start a DAG run that has its own connection in Airflow's database.

        :param name: a short name for the run id and the prompts.
        :param pictures: names of the first frames.
        :param on: the gateway; `quick` if none is given.
        :param through: the address at which Airflow reaches it, if it is another one.
        :param prompt: the prompt of all its videos; by default, each has its own.
        :param wan_conn_id: a connection that is there, with its `key`.
        :param conf: further params of the DAG run.
        """
        number = len(self.runs)
        emulator = on or self.quick
        key = key or f"sk-{secrets.token_hex(16)}{number:04d}"
        slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        orders = [
            {"first_frame": self.media.url(f"{picture}.png"), "prompt": prompt or f"{name}, clip {index}"}
            for index, picture in enumerate(pictures)
        ]
        run = ClusterRun(
            name=name,
            airflow=self.cluster,
            emulator=emulator,
            gateway=gateway,
            dag_id=dag_id,
            run_id=f"{number:02d}_{slug}",
            key=key,
            cluster=self.cluster,
            orders=orders,
        )
        if wan_conn_id is None:
            wan_conn_id = f"wan_{number}"
            # An answer that a fault holds must be waited for until the test goes on.
            extra = json.dumps({"gateway": gateway, "read_timeout": LONGEST_S, "total_timeout": LONGEST_S})
            self.cluster.connect(wan_conn_id, conn_type="wan", host=through or emulator.url, password=key, extra=extra)
        body = {
            "dag_run_id": run.run_id,
            "logical_date": None,
            "conf": {"orders": orders, "wan_conn_id": wan_conn_id, **conf},
        }
        self.cluster.rest.post(f"/api/v2/dags/{dag_id}/dagRuns", body)
        self.runs.append(run)
        return run

    def legs_s(self) -> list[float]:
        """Return how long each leg of a task has held a slot of a worker so far, in seconds."""
        logs = [(self.cluster.console / f"{name}.log").read_text() for name in WORKERS]
        return [float(seconds) for log in logs for seconds in _LEG.findall(log)]

    def busiest_triggerer(self) -> str:
        """Return the name of the triggerer that has taken the most waits."""
        with psycopg2.connect(self.cluster.database.get_uri()) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT hostname FROM trigger JOIN job ON job.id = triggerer_id GROUP BY hostname ORDER BY -count(*)"
            )
            return str(cursor.fetchone()[0])
