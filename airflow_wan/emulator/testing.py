"""An emulator and a media server inside the test process, each on a free loopback port.

Two settings are ready for use: `FAST` for tests that look at the states of a task, and `AT_ONCE` for all others. Both
are without the limits of an account; `dataclasses.replace(FAST, create_qps=5, running=5)` sets some.

A test says which request fails; `airflow_wan.emulator.faults` lists the faults and their parameters::

    def test_a_lost_answer_is_not_paid_twice(wan_emulator):
        wan_emulator.add_fault("create", "drop_connection")
        ...
        assert len(wan_emulator.ledger()) == 1
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from airflow_wan.emulator.dependencies import missing_extra

try:
    import uvicorn

    from airflow_wan.emulator import records
    from airflow_wan.emulator.app import Emulator
    from airflow_wan.emulator.connections import HttpProtocol
    from airflow_wan.emulator.durations import Durations
    from airflow_wan.emulator.faults import Fault
    from airflow_wan.emulator.settings import Settings
except ModuleNotFoundError as error:
    raise missing_extra(error) from error

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AT_ONCE", "FAST", "Durations", "MediaServer", "RunningEmulator", "Settings"]

FAST = Settings(
    pending_s=0.2, running_s=0.4, create_qps=None, running=None, read_qps=None, list_qps=None, cancel_qps=None
)
"""Tasks that pass through every state within 0.6 seconds; no limits of an account."""
AT_ONCE = replace(FAST, pending_s=0, running_s=0)
"""Tasks that are finished at their first poll; no limits of an account."""

_START_TIMEOUT_S = 10.0


class RunningEmulator:
    """An emulator that a background thread serves for the duration of a `with` block.

    Its `base_url` is `http://127.0.0.1:PORT`, without a slash at the end.

    :param settings: how the emulator behaves.
    """

    def __init__(self, settings: Settings = FAST) -> None:
        self.settings = settings
        self.base_url = ""
        self._emulator = Emulator(settings)

    def __enter__(self) -> Self:
        # asyncio disables Nagle's algorithm (a delay of 40 ms for each answer) only if the socket names its protocol.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self._emulator.app,
            http=HttpProtocol,
            lifespan="off",
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            date_header=False,
            # A client that does not finish reading its answer must not delay the end of a test.
            timeout_graceful_shutdown=2,
        )
        self._listener = listener
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="wan-emulator", daemon=True
        )
        self._thread.start()
        self._wait_until_started()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()
        self._emulator.close()

    def ledger(self) -> list[dict[str, Any]]:
        """Return the rows of `GET /_emulator/ledger`."""
        return records.ledger(self._emulator.tasks, self._emulator.clock.now())

    def requests(self) -> list[dict[str, Any]]:
        """Return the rows of `GET /_emulator/requests`."""
        return self._emulator.requests.entries()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the rows of `GET /_emulator/counts`: of each kind of call `requests`, `throttled` and `peak_per_s`."""
        return self._emulator.counts.rows()

    def uploads(self) -> list[dict[str, Any]]:
        """Return the rows of `GET /_emulator/uploads`."""
        return self._emulator.uploads.rows()

    def add_fault(self, on: str, kind: str, **parameters: Any) -> None:
        """Make the next request of a kind fail.

        :param on: the kind of request.
        :param kind: the kind of fault.
        :param parameters: the parameters of the fault.
        :raises ValueError: if `airflow_wan.emulator.faults` lists no such fault.
        """
        self._emulator.faults.add([Fault.from_json({"on": on, "kind": kind, **parameters})])

    def faults(self) -> list[dict[str, Any]]:
        """Return the rows of `GET /_emulator/faults`: each fault, and its counts `fired`, `left` and `holding`."""
        return self._emulator.faults.rows()

    def release_faults(self) -> int:
        """Send every held, delayed and slow answer now; return how many there were."""
        return self._emulator.faults.release()

    def clear_faults(self) -> None:
        """Remove every fault, and send every answer that one of them holds."""
        self._emulator.faults.clear()

    def advance_clock(self, seconds: float) -> None:
        """Move the emulator's clock forward by `seconds`."""
        self._emulator.clock.advance(seconds)

    def set_latency(self, seconds: float) -> None:
        """Handle and answer every request so many seconds later from now on."""
        self._emulator.latency.seconds = seconds

    def reset(self) -> None:
        """Forget all tasks, requests, counts, uploads, faults and clock changes."""
        self._emulator.reset()

    def _wait_until_started(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("The emulator's web server did not start; see its log.")
            time.sleep(0.005)


class MediaServer:
    """A server of the files in a directory, over http on loopback, for the duration of a `with` block.

    Its `base_url` is `http://127.0.0.1:PORT`, without a slash at the end.

    :param directory: the directory that holds the files.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.base_url = ""

    def __enter__(self) -> Self:
        handler = partial(_QuietHandler, directory=str(self._directory))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="wan-media", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, name: str) -> str:
        """Return the URL of a file, whose name is relative to the directory."""
        return f"{self.base_url}/{name}"


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Do not write to stderr for each request."""
