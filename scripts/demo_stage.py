"""What `make demo` and `make ui` share: an Airflow of their own under .demo/, and the gateway or its emulator."""

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

# `kill` then cleans up in the same way as Ctrl-C.
signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))

REPOSITORY = Path(__file__).resolve().parent.parent
DEMO = REPOSITORY / ".demo"
AIRFLOW = Path(sys.executable).with_name("airflow")

_EMULATOR_START_S = 20.0


@dataclass(frozen=True)
class Gateway:
    """The gateway that the demo submits to.

    :param is_real: whether a submit costs money.
    :param base_url: its address.
    :param connection: the Airflow connection, as JSON.
    :param conf: the ``conf`` of the example DAG's run.
    """

    is_real: bool
    base_url: str
    connection: str
    conf: dict[str, str]


def confirm_spending(sentence: str) -> None:
    """Print what would be paid, and exit unless the user has agreed to pay."""
    print(sentence)
    if os.environ.get("CONFIRM") != "yes":
        sys.exit("Nothing was sent. To continue, add CONFIRM=yes to the command.")


@contextmanager
def gateway(*, pending_s: float, running_s: float) -> Iterator[Gateway]:
    """Yield the real gateway if the environment has a key for it, otherwise an emulator that ends with the block.

    :param pending_s: how long the emulator's tasks are queued, in seconds.
    :param running_s: how long they then run, in seconds.
    """
    if os.environ.get("WAN_API_KEY"):
        yield _real_gateway()
        return
    if os.environ.get("WAN_BASE_URL"):
        sys.exit(
            "WAN_BASE_URL is set, but WAN_API_KEY is not. Set both for a real gateway, or neither for the emulator."
        )
    with MediaServer(make_media(DEMO / "media")) as media, _emulator(media, pending_s, running_s) as base_url:
        connection = {"conn_type": "wan", "password": "sk-emulated-key", "host": base_url}
        conf = {"first_frame": media.url("rap.png"), "driving_audio": media.url("rap.wav")}
        yield Gateway(is_real=False, base_url=base_url, connection=json.dumps(connection), conf=conf)


def _real_gateway() -> Gateway:
    media = {name.lower(): os.environ.get(name, "") for name in ("FIRST_FRAME", "DRIVING_AUDIO")}
    missing = [name.upper() for name, url in media.items() if not url]
    if missing:
        sys.exit(
            f"A real gateway fetches the media from the internet. Set {' and '.join(missing)} to a public https URL "
            "(FIRST_FRAME: an image; DRIVING_AUDIO: a wav or mp3 of 2 to 30 s). Nothing was sent."
        )
    connection = {
        "conn_type": "wan",
        "password": os.environ["WAN_API_KEY"],
        "host": os.environ.get("WAN_BASE_URL", ""),
        "extra": {"gateway": os.environ.get("WAN_GATEWAY", "")},
    }
    return Gateway(is_real=True, base_url=connection["host"], connection=json.dumps(connection), conf=media)


@contextmanager
def _emulator(media: MediaServer, pending_s: float, running_s: float) -> Iterator[str]:
    """Run the emulator as a process of its own, and yield its URL.

    It fetches the public URLs in the example DAGs from the demo's own media, so that the DAGs run unchanged.
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
    sys.exit(f"The emulator did not start. See {DEMO / 'emulator.log'}.")


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def prepare_airflow(wan: Gateway, *, poll_interval_s: float) -> None:
    """Make this process, and those that it starts, use the demo's Airflow; create its database if there is none.

    :param wan: the gateway of its connection.
    :param poll_interval_s: seconds between two status requests to the emulator; a real gateway gets the default.
    """
    for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
        del os.environ[name]
    home = DEMO / "airflow"
    home.mkdir(exist_ok=True)
    os.environ |= {
        # `airflow standalone` finds its parts on PATH.
        "PATH": f"{AIRFLOW.parent}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "example_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__WAN__OUTPUT_BASE": str(DEMO / "videos"),
        "AIRFLOW__WAN__PREVIEW_BASES": json.dumps([str(DEMO / "media")]),
        "AIRFLOW_CONN_WAN_DEFAULT": wan.connection,
    }
    if not wan.is_real:
        os.environ["AIRFLOW__WAN__POLL_INTERVAL"] = str(poll_interval_s)
    migrated = home / f"migrated-{importlib.metadata.version('apache-airflow')}"
    if not migrated.exists():
        print("Creating Airflow's database; this happens once and takes about 15 s …", flush=True)
        run_quietly(AIRFLOW, "db", "migrate")
        migrated.touch()


def run_quietly(*command: str | Path) -> None:
    """Run a command, and print its output only if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}\n`{' '.join(map(str, command))}` failed.")
