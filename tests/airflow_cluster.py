"""What a company runs, on one machine: Airflow with Celery workers, and the services around it.

Each worker and each triggerer is a machine of its own as far as folders go: it has its own AIRFLOW_HOME, temporary
folder and working folder. They share the DAG files, the folder of logs, and 127.0.0.1 with a port each.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import boto3
import psutil
from airflow_processes import Airflow, Component, free_port, wait_for
from botocore.exceptions import BotoCoreError, ClientError
from cluster_parts import redis_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WORKERS = ("worker-1", "worker-2")
TRIGGERERS = ("triggerer-1", "triggerer-2")
SLOTS_OF_A_WORKER = 4
STORE_CONN_ID = "store"
BUCKET = "clips"
STORE = f"s3://{STORE_CONN_ID}@{BUCKET}"
_RESTARTS_AFTER_S = 1.0
_SERVICE_START_S = 60.0
# moto accepts whatever key it is asked with.
_STORE_KEY = {"login": "testing", "password": "testing-secret"}


@dataclass
class Cluster(Airflow):
    """API server, DAG processor, scheduler, two Celery workers, two triggerers, Redis, PostgreSQL and an S3 server.

    A part of Airflow that ends by itself is started again, as a restart policy does: scheduler, DAG processor and
    triggerers end when the database is away for some seconds.

    Each worker also takes tasks of a queue that has its own name.

    :param home: the folder of everything; `Airflow` says more.
    :param machine_options: further environment variables of single parts, by their names in `PARTS`.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("api-server", "dag-processor", "scheduler", *WORKERS, *TRIGGERERS)

    machine_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    _is_closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._redis_port, self._store_port = free_port(), free_port()
        self.broker_url = f"redis://127.0.0.1:{self._redis_port}/0"
        self.store_url = f"http://127.0.0.1:{self._store_port}"
        super().__post_init__()
        self.store = Store(self.store_url)

    def settings(self) -> dict[str, object]:
        """See `Airflow.settings`."""
        settings = super().settings()
        return settings | {
            "CORE__EXECUTOR": "CeleryExecutor",
            "CORE__PARALLELISM": 32,
            "CORE__MAX_ACTIVE_TASKS_PER_DAG": 1000,
            "CELERY__BROKER_URL": self.broker_url,
            "CELERY__RESULT_BACKEND": f"db+{settings['DATABASE__SQL_ALCHEMY_CONN']}",
            "CELERY__WORKER_CONCURRENCY": SLOTS_OF_A_WORKER,
            "CELERY__WORKER_ENABLE_REMOTE_CONTROL": False,
            # Seconds. Eight tasks that start at once keep two cores busy for longer than the default of 5.
            "WORKERS__EXECUTION_API_TIMEOUT": 60,
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": 15,
        }

    def prepare(self) -> None:
        """Start the services, and make the bucket."""
        redis = [redis_server() or "redis-server", "--bind", "127.0.0.1", "--port", str(self._redis_port)]
        # What is queued survives a restart of Redis, as it does where somebody has set it up with care.
        self._add_service("redis", *redis, "--save", "", "--appendonly", "yes", "--appendfsync", "always")
        self._add_service("store", sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._store_port))
        for name in ("redis", "store"):
            self.components[name].start()
        wait_for("the S3 server", self.store.is_there, _SERVICE_START_S)
        self.store.make_bucket()
        threading.Thread(target=self._keep_running, daemon=True).start()

    def _add_service(self, name: str, *command: str) -> None:
        self.components[name] = self._component(name, list(command), self.environment)

    def component(self, name: str, instance: str = "") -> Component:
        """Return a part by its name in `PARTS`, or a service: ``redis`` or ``store``."""
        title = f"{name}{instance}"
        if title not in self.components:
            worker = ["celery", "worker", "--celery-hostname", f"{title}@%h", "--queues", f"default,{title}"]
            command = worker if title in WORKERS else ["triggerer" if title in TRIGGERERS else title]
            self.components[title] = self._component(
                title, [sys.executable, "-m", "airflow", *command], self.environment | self._machine(title)
            )
        return self.components[title]

    def _component(self, title: str, command: list[str], environment: dict[str, str]) -> Component:
        working_folder = self.folder_of(title) / "work"
        working_folder.mkdir(parents=True)
        return Component(title, command, environment, self.console / f"{title}.log", working_folder)

    def folder_of(self, title: str) -> Path:
        """Return the folder that stands for the disk of a part's machine, with ``airflow``, ``tmp`` and ``work``."""
        return self.home / title

    def _machine(self, title: str) -> dict[str, str]:
        folder = self.folder_of(title)
        for name in ("airflow", "tmp"):
            (folder / name).mkdir(parents=True)
        (folder / "machine.py").write_text(f"def name():\n    return {title!r}\n")
        return {
            # Airflow tells the machines apart by this name, as by their host names elsewhere.
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "machine.name",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))),
            "AIRFLOW_HOME": str(folder / "airflow"),
            "TMPDIR": str(folder / "tmp"),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            **self.machine_options.get(title, {}),
        }

    def connect_store(self, conn_id: str = STORE_CONN_ID, url: str | None = None) -> None:
        """Make an Airflow connection to the S3 server, or to what stands between."""
        extra = {"endpoint_url": url or self.store_url, "region_name": "us-east-1"}
        self.connect(conn_id, conn_type="aws", **_STORE_KEY, extra=json.dumps(extra))

    def connect(self, conn_id: str, **fields: str) -> None:
        """Make an Airflow connection in the database."""
        self.rest.post("/api/v2/connections", {"connection_id": conn_id, **fields})

    def stop_database(self) -> None:
        """Stop PostgreSQL in good order; it keeps what it has."""
        self.database.stop()

    def start_database(self) -> None:
        """Start PostgreSQL again."""
        self.database.ensure_postgres_running()

    def cpu_s(self) -> float:
        """Return the CPU seconds that the processes which still run, and their ended children, have used so far."""
        database = psutil.Process(self.database.get_pid())
        families = [component.family() for component in self.components.values()]
        return sum(_cpu_s(one) for family in (*families, [database, *database.children()]) for one in family)

    def _keep_running(self) -> None:
        while not self._is_closing.wait(_RESTARTS_AFTER_S):
            for name in self.PARTS:
                if name in self.components:
                    self.components[name].start_again_if_ended()

    def _stop(self) -> None:
        self._is_closing.set()
        super()._stop()


def _cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of its children that have ended."""
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


class Store:
    """The S3 server as seen by anybody.

    :param url: its address.
    """

    def __init__(self, url: str) -> None:
        keys = {"aws_access_key_id": _STORE_KEY["login"], "aws_secret_access_key": _STORE_KEY["password"]}
        self._s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)

    def is_there(self) -> bool:
        """Return whether it answers."""
        with suppress(BotoCoreError, ClientError):
            return bool(self._s3.list_buckets())
        return False

    def make_bucket(self) -> None:
        """Make the bucket of the videos."""
        self._s3.create_bucket(Bucket=BUCKET)

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys in the bucket that begin with a prefix, sorted."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sorted(row["Key"] for page in pages for row in page.get("Contents", ()))

    def content(self, key: str) -> bytes:
        """Return what an object holds."""
        return bytes(self._s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
