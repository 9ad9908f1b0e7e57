"""What Airflow's own observers receive of a run: StatsD over UDP, and OpenLineage's events, by their own packages."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

import pytest
from PIL import Image

from airflow_wan.emulator.testing import FAST, MediaServer, RunningEmulator

if TYPE_CHECKING:
    from pathlib import Path

DAG = """
from airflow.sdk import DAG
from airflow_wan.operators.wan import WanImageToVideoOperator

with DAG("observed", schedule=None) as dag:
    WanImageToVideoOperator(
        task_id="animate",
        prompt="The clouds drift.",
        first_frame="{first_frame}?Signature=TOPSECRET",
        duration=2,
        output_path="{folder}/film.mp4",
    )

if __name__ == "__main__":
    dag.test()
"""


class StatsD:
    """Collects what is sent to it over UDP."""

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A datagram to itself ends the thread, after all that came before it.
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while data := self._socket.recv(65536):
            self.lines += data.decode().splitlines()

    def values(self, name: str) -> list[str]:
        """What was sent for a metric: ``1|c``."""
        return [line.partition(":")[2] for line in self.lines if line.startswith(f"airflow.{name}:")]


@pytest.fixture(scope="module")
def observed(airflow_db: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One DAG run in a process of its own, watched by both."""
    folder = tmp_path_factory.mktemp("observed")
    Image.linear_gradient("L").resize((320, 320)).convert("RGB").save(folder / "frame.png")
    events = folder / "openlineage.json"
    with RunningEmulator(FAST) as emulator, MediaServer(folder) as media, StatsD() as statsd:
        emulator.add_fault("create", "throttled")
        file = folder / "observed.py"
        file.write_text(DAG.format(first_frame=media.url("frame.png"), folder=folder))
        connection = {"conn_type": "wan", "password": "sk-observed-0123456789", "host": emulator.base_url}
        # Not measured: Airflow's own code runs here, at twice the time under coverage.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")} | {
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
            "AIRFLOW_CONN_WAN_DEFAULT": json.dumps(connection | {"extra": {"gateway": "dashscope"}}),
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(statsd.port),
            "AIRFLOW__OPENLINEAGE__DISABLED": "False",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                {"type": "file", "log_file_path": str(events), "append": True}
            ),
        }
        done = subprocess.run([sys.executable, file], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(emulator.ledger()) == 1
    return {"statsd": statsd, "events": events, "folder": folder, "media": media, "log": done.stdout + done.stderr}


def test_statsd_counts_submits_videos_seconds_bytes_and_cost(observed: dict[str, Any]) -> None:
    statsd, film = observed["statsd"], observed["folder"] / "film.mp4"

    assert statsd.values("wan.submits") == ["1|c"]
    assert statsd.values("wan.submits.throttled") == ["1|c"]
    assert statsd.values("wan.videos") == ["1|c"]
    assert statsd.values("wan.seconds_generated") == ["2|c"]
    assert statsd.values("wan.bytes") == [f"{film.stat().st_size}|c"]
    assert statsd.values("wan.estimated_cost_cents") == ["20|c"]
    (wait,) = statsd.values("wan.waits")
    assert wait.endswith("|ms")


def test_openlineage_names_the_media_and_the_video(observed: dict[str, Any]) -> None:
    events = [json.loads(line) for line in observed["events"].read_text().splitlines()]
    complete = [
        event for event in events if event["eventType"] == "COMPLETE" and event["job"]["name"] == "observed.animate"
    ]

    assert complete, events
    film, media = observed["folder"] / "film.mp4", observed["media"]
    (output,) = complete[-1]["outputs"]
    assert (output["namespace"], output["name"]) == ("file", str(film))
    assert output["outputFacets"]["outputStatistics"]["size"] == film.stat().st_size
    (source,) = complete[-1]["inputs"]
    assert (source["namespace"], source["name"]) == (media.base_url, "frame.png")


def test_neither_is_told_a_secret(observed: dict[str, Any]) -> None:
    told = "\n".join(observed["statsd"].lines) + observed["events"].read_text()

    for secret in ("TOPSECRET", "sk-observed", "OSSAccessKeyId"):
        assert secret not in told
