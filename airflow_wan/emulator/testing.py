"""An emulator and a media server inside the test process, each on a free loopback port.

Two settings are ready for tests: `FAST` for tests that look at the states of a task, and `AT_ONCE` for all others.

What goes wrong is up to the test; `airflow_wan.emulator.faults` explains the words:

    def test_a_lost_answer_buys_nothing_twice(wan_emulator):
        wan_emulator.add_fault("create", "drop_connection")
        ...
        assert len(wan_emulator.ledger()) == 1
"""

from __future__ import annotations

import socket
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from airflow_wan.emulator.extra import require_extra

require_extra()

import uvicorn  # noqa: E402  # only once the extra is known to be there

from airflow_wan.emulator import journal  # noqa: E402
from airflow_wan.emulator.app import Emulator  # noqa: E402
from airflow_wan.emulator.faults import Fault  # noqa: E402
from airflow_wan.emulator.settings import Settings  # noqa: E402
from airflow_wan.emulator.wire import WireProtocol  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

FAST = Settings(pending_s=0.2, running_s=0.4, qps_limit=False)
"""Tasks that pass through every state within 0.6 seconds; no limit on polls."""
AT_ONCE = Settings(pending_s=0, running_s=0, qps_limit=False)
"""Tasks that are finished at their first poll; no limit on polls."""
_START_TIMEOUT_S = 10.0


class RunningEmulator:
    """An emulator served from a background thread while the `with` block lasts.

    Attributes:
        base_url: `http://127.0.0.1:PORT`, without a slash at its end.
        settings: how it behaves.

    """

    def __init__(self, settings: Settings = FAST) -> None:
        self.settings = settings
        self.base_url = ""
        self._emulator = Emulator(settings)

    def __enter__(self) -> Self:
        # The protocol is named because asyncio switches Nagle's delay (40 ms an answer) off only when it is.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self._emulator.app,
            http=WireProtocol,
            lifespan="off",
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            # A client that holds on to an answer must not hold up a test.
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
        return journal.ledger(self._emulator.tasks, self._emulator.clock.now())

    def requests(self) -> list[dict[str, Any]]:
        """Return the rows of `GET /_emulator/requests`."""
        return self._emulator.journal.entries()

    def uploads(self) -> list[dict[str, Any]]:
        """Return the rows of `GET /_emulator/uploads`."""
        return self._emulator.uploads.rows()

    def add_fault(self, on: str, kind: str, **parameters: Any) -> None:
        """Let a request go wrong; ValueError if `airflow_wan.emulator.faults` knows no such fault."""
        self._emulator.faults.add([Fault.read({"on": on, "kind": kind, **parameters})])

    def faults(self) -> list[dict[str, Any]]:
        """Return the rows of `GET /_emulator/faults`: each fault, how often it has `fired` and what it is `holding`."""
        return self._emulator.faults.rows()

    def release_faults(self) -> int:
        """Let every held, delayed and slow answer go at once; return how many there were."""
        return self._emulator.faults.release()

    def clear_faults(self) -> None:
        """Let nothing go wrong any more, and release what is held."""
        self._emulator.faults.clear()

    def advance_clock(self, seconds: float) -> None:
        """Move the emulator's clock forward by `seconds`."""
        self._emulator.clock.advance(seconds)

    def reset(self) -> None:
        """Forget all tasks, requests, faults and clock changes."""
        self._emulator.reset()

    def _wait_until_started(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("The emulator's web server did not start; see its log.")
            time.sleep(0.005)


class MediaServer:
    """Serves the files of a directory over loopback http while the `with` block lasts.

    Attributes:
        base_url: `http://127.0.0.1:PORT`, without a slash at its end.

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
        """Return the URL of a file, named relative to the directory."""
        return f"{self.base_url}/{name}"


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""
