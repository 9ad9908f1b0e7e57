"""What `make demo` and `make ui` share: an Airflow of their own under .demo/, and who plays the gateway."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from demo_media import make_media

from airflow_wan.emulator.testing import MediaServer

if TYPE_CHECKING:
    from collections.abc import Iterator

# An end by `kill` cleans up like one by Ctrl-C.
signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))

REPOSITORY = Path(__file__).resolve().parent.parent
DEMO = REPOSITORY / ".demo"
AIRFLOW = Path(sys.executable).with_name("airflow")

_EMULATOR_START_S = 20.0


@dataclass(frozen=True)
class Gateway:
    """Where the demo submits.

    Attributes:
        is_real: whether a submit costs money.
        connection: the Airflow connection, as JSON.
        conf: what the example DAG is run with.

    """

    is_real: bool
    connection: str
    conf: dict[str, str]


def confirm_spending(sentence: str) -> None:
    """Go on only if the person at the keyboard has agreed to pay."""
    print(sentence)
    if os.environ.get("CONFIRM") != "yes":
        sys.exit("Nothing was sent. To go on, add CONFIRM=yes to the command.")


@contextmanager
def gateway(*, pending_s: float, running_s: float) -> Iterator[Gateway]:
    """The real gateway if the environment has a key for one, else the emulator, while the `with` block lasts.

    Args:
        pending_s: seconds that the emulator's tasks are queued.
        running_s: seconds that they then run.

    """
    if os.environ.get("WAN_API_KEY"):
        yield _real_gateway()
        return
    if os.environ.get("WAN_BASE_URL"):
        sys.exit("WAN_BASE_URL is set and WAN_API_KEY is not. Set both for a real gateway, neither for the emulator.")
    with MediaServer(make_media(DEMO / "media")) as media, _emulator(media, pending_s, running_s) as base_url:
        connection = {"conn_type": "wan", "password": "sk-emulated-key", "host": base_url}
        yield Gateway(is_real=False, connection=json.dumps(connection), conf={})


def _real_gateway() -> Gateway:
    media = {name.lower(): os.environ.get(name, "") for name in ("FIRST_FRAME", "DRIVING_AUDIO")}
    missing = [name.upper() for name, url in media.items() if not url]
    if missing:
        sys.exit(
            f"A real gateway fetches its media from the internet: set {' and '.join(missing)} to public https URLs "
            "(a picture; a wav or mp3 of 2 to 30 s)."
        )
    connection = {
        "conn_type": "wan",
        "password": os.environ["WAN_API_KEY"],
        "host": os.environ.get("WAN_BASE_URL", ""),
        "extra": {"gateway": os.environ.get("WAN_GATEWAY", "")},
    }
    return Gateway(is_real=True, connection=json.dumps(connection), conf=media)


@contextmanager
def _emulator(media: MediaServer, pending_s: float, running_s: float) -> Iterator[str]:
    """The emulator as a process of its own; yields its URL.

    The public addresses in the example DAGs lead to our own media, so that the DAGs run as they are.
    """
    port = free_port()
    command = [sys.executable, "-m", "airflow_wan.emulator", "--port", str(port)]
    command += ["--pending-s", str(pending_s), "--running-s", str(running_s)]
    command += ["--media-mirror", f"https://your-cdn.com/rap.mp3={media.url('rap.wav')}"]
    command += ["--media-mirror", f"https://your-cdn.com/={media.url('')}"]
    with (DEMO / "emulator.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            base_url = f"http://127.0.0.1:{port}"
            _wait_until_answering(f"{base_url}/_emulator/ledger", process)
            yield base_url
        finally:
            process.terminate()


def _wait_until_answering(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _EMULATOR_START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"The emulator did not start; see {DEMO / 'emulator.log'}.")


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def prepare_airflow(wan: Gateway, *, poll_interval_s: float) -> None:
    """Point this process, and those it starts, at the demo's Airflow, and make its database if there is none.

    Args:
        wan: where its connection leads.
        poll_interval_s: seconds between two asks of the emulator; a real gateway is asked as seldom as it wants.

    """
    for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
        del os.environ[name]
    home = DEMO / "airflow"
    home.mkdir(exist_ok=True)
    os.environ |= {
        # `airflow standalone` starts its parts by name.
        "PATH": f"{AIRFLOW.parent}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "example_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__WAN__OUTPUT_BASE": str(DEMO / "videos"),
        "AIRFLOW_CONN_WAN_DEFAULT": wan.connection,
    }
    if not wan.is_real:
        os.environ["AIRFLOW__WAN__POLL_INTERVAL"] = str(poll_interval_s)
    migrated = home / f"migrated-{importlib.metadata.version('apache-airflow')}"
    if not migrated.exists():
        print("Making Airflow's database, once (some 15 s) …", flush=True)
        run_quietly(AIRFLOW, "db", "migrate")
        migrated.touch()


def run_quietly(*command: str | Path) -> None:
    """Run a command; say something only if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}\n`{' '.join(map(str, command))}` failed.")
