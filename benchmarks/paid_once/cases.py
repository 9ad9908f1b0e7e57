"""The cases of the comparison (what goes wrong), and its contenders (the ways to write the DAG)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

HELD_BYTES = 2000


class Kill(Enum):
    """The call during which the process that talks to the gateway gets SIGKILL."""

    DURING_CREATE = "create"
    DURING_POLL = "poll"
    DURING_DOWNLOAD = "download"


@dataclass(frozen=True)
class Case:
    """One thing that goes wrong.

    :param title: the title of its row in the table.
    :param fault: arguments of `RunningEmulator.add_fault`; None for no fault.
    :param timeout: the client's timeout, in seconds; None for the default of each client.
    :param kill: the call during which to kill the process; the fault must delay the answer of that call.
    """

    title: str
    fault: dict[str, Any] | None = field(default=None, hash=False)
    timeout: float | None = None
    kill: Kill | None = None


CASES = (
    Case("nothing"),
    Case("create accepted, connection dropped", {"on": "create", "kind": "drop_connection"}),
    Case("create accepted, proxy answers 502", {"on": "create", "kind": "bad_gateway"}),
    Case(
        "create accepted, answered after 15 s; client's timeout 5 s",
        {"on": "create", "kind": "delay", "delay_s": 15},
        timeout=5,
    ),
    Case("create refused once: 429", {"on": "create", "kind": "throttled"}),
    Case("create refused once: 503", {"on": "create", "kind": "unavailable"}),
    Case("task fails once: InternalError", {"on": "create", "kind": "task_failed", "code": "InternalError"}),
    Case("three polls answer 500", {"on": "poll", "kind": "server_error", "times": 3}),
    Case("connection of a poll dropped", {"on": "poll", "kind": "drop_connection"}),
    Case("first download cut off halfway", {"on": "download", "kind": "truncated"}),
    Case("first download reset halfway", {"on": "download", "kind": "reset"}),
    Case("link refused once: 403, expired", {"on": "download", "kind": "expired"}),
    Case("first download is a proxy's page, 200", {"on": "download", "kind": "html"}),
    Case("first download is empty, 200", {"on": "download", "kind": "empty"}),
    Case("SIGKILL during the create, accepted", {"on": "create", "kind": "hold"}, kill=Kill.DURING_CREATE),
    Case(
        "SIGKILL during the download",
        {"on": "download", "kind": "hold", "at_bytes": HELD_BYTES},
        kill=Kill.DURING_DOWNLOAD,
    ),
    # The last one: it may kill the triggerer, which all runs share.
    Case("SIGKILL during a poll", {"on": "poll", "kind": "hold"}, kill=Kill.DURING_POLL),
)


@dataclass(frozen=True)
class Contender:
    """One way to write the DAG.

    :param title: the title of its column in the table.
    :param dag_id: the id of its DAG in `dags/`.
    :param conn_type: the type of its Airflow connection.
    """

    title: str
    dag_id: str
    conn_type: str

    def connection(self, host: str, key: str, timeout: float | None) -> dict[str, Any]:
        """Return the fields of its connection, without the id."""
        extra: dict[str, Any] = {}
        if timeout is not None:
            extra["read_timeout" if self.conn_type == "wan" else "timeout"] = timeout
        if self.conn_type == "http":
            extra["Authorization"] = f"Bearer {key}"
            return {"conn_type": "http", "host": host, "extra": json.dumps(extra)}
        if self.conn_type == "wan":
            extra["gateway"] = "dashscope"
        return {"conn_type": self.conn_type, "host": host, "password": key, "extra": json.dumps(extra)}


CONTENDERS = (
    Contender("`airflow_wan`", "with_airflow_wan", "wan"),
    Contender("`HttpOperator` + `HttpSensor`", "with_http_provider", "http"),
    Contender("`dashscope`, one task", "with_dashscope_sdk", "generic"),
    Contender("`dashscope`, two tasks", "with_dashscope_sdk_in_two_tasks", "generic"),
)

# Modules that each task would otherwise load itself.
PRELOADED = """
    import airflow.providers.http.operators.http
    import airflow.providers.http.sensors.http
    import dashscope
"""
