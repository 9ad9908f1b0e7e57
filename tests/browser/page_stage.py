"""What the browser looks at: DAG runs, the addresses of the pages about them, and the prompts in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_processes import Airflow

    from airflow_wan.emulator.testing import RunningEmulator

BUCKET = "films"
ACCESS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing-secret", "region_name": "us-east-1"}
RAP = "一个由喷漆所画成的少年从墙上活过来,演唱英文 rap,夜晚铁路桥下,电影级光影"
HOSTILE = (
    "<script>document.title = 'taken over'</script><img src=x onerror=alert(1)> **bold** [link](javascript:alert(1)) "
    "{{ '{{' }} 7 * 7 }} \u202edlrow olleh\u202c שלום עולם &amp; "
)
LONG = (
    "A lighthouse at dusk: its beam turns slowly over a quiet sea and touches the cliffs of an island. "
    + HOSTILE
    + "dust glitters in the beam; " * 180
)


@dataclass(frozen=True)
class Run:
    """A DAG run, and the addresses of the pages about it."""

    airflow: Airflow
    dag_id: str
    run_id: str

    def page(self, task_id: str, map_index: int = -1) -> str:
        return f"/wan/video/{self.dag_id}/{quote(self.run_id, safe='')}/{task_id}/{map_index}"

    @property
    def sheet(self) -> str:
        return f"/wan/sheet/{self.dag_id}/{quote(self.run_id, safe='')}"

    @property
    def in_airflow(self) -> str:
        return f"/dags/{self.dag_id}/runs/{quote(self.run_id, safe='')}"

    def state(self) -> str:
        return str(self.airflow.rest.get(f"/api/v2/dags/{self.dag_id}/dagRuns/{quote(self.run_id, safe='')}")["state"])

    def leave(self, statuses: dict[str, dict[str, object]]) -> None:
        """Have tasks tell of videos that they have not made."""
        for task_id, status in statuses.items():
            instance = f"/api/v2/dags/{self.dag_id}/dagRuns/{quote(self.run_id, safe='')}/taskInstances/{task_id}"
            self.airflow.rest.post(f"{instance}/xcomEntries", {"key": "wan_status", "value": status})

    def has_ended(self) -> bool:
        return self.state() in {"success", "failed"}


@dataclass(frozen=True)
class Stage:
    """What the tests look at.

    :param runs: the DAG runs that have ended, by name.
    :param slow: an emulator whose videos are finished when its clock is turned forward.
    :param start: starts a run of a DAG; it takes the DAG's id, and its params.
    """

    airflow: Airflow
    runs: dict[str, Run]
    slow: RunningEmulator
    folder: Path
    start: Callable[..., Run]


def wan_connection(host: str) -> str:
    connection = {"conn_type": "wan", "password": "sk-browser", "host": host, "extra": {"gateway": "dashscope"}}
    return json.dumps(connection)


def aws_connection(endpoint: str) -> str:
    connection = {
        "conn_type": "aws",
        "login": ACCESS["aws_access_key_id"],
        "password": ACCESS["aws_secret_access_key"],
        "extra": {"region_name": ACCESS["region_name"], "endpoint_url": endpoint},
    }
    return json.dumps(connection)
