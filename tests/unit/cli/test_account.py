"""Where the key comes from: a connection, the environment, or a person; never an argument, and no database is made."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from command_lines import KEY, TEXT_TO_VIDEO, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command_lines import CommandLine, Done

NO_TASK = "00000000-0000-4000-8000-000000000001"


def connection(line: CommandLine, **fields: Any) -> str:
    return json.dumps({"conn_type": "wan", "password": KEY, "host": line.emulator.base_url, **fields})


@pytest.fixture
def bare(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line without any key."""
    for name in ("WAN_API_KEY", "WAN_BASE_URL", "WAN_GATEWAY"):
        monkeypatch.delenv(name)
    return line


def cost(line: CommandLine, *arguments: str) -> Done:
    """Make a video, so that the emulator notes the key."""
    return line.generate(*arguments)


def test_without_a_key_nothing_is_sent(bare: CommandLine) -> None:
    done = cost(bare)

    assert done.code == 3
    assert "DASHSCOPE_API_KEY" in done.err
    assert "APIYI_API_KEY" in done.err
    assert bare.bought == []


@pytest.mark.parametrize("how", ["named", "default"])
def test_the_key_of_an_airflow_connection(bare: CommandLine, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    conn_id = {"named": "my_wan", "default": "wan_default"}[how]
    extra = {"gateway": bare.gateway}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", connection(bare, extra=extra))

    done = cost(bare, *(["--conn-id", conn_id] if how == "named" else []))

    assert done.code == 0, done.err
    assert bare.emulator.ledger()[0]["gateway"] == bare.gateway
    assert bare.emulator.ledger()[0]["key_last4"] == KEY[-4:]


@pytest.mark.parametrize(("gateway", "prefix"), [("dashscope", "DASHSCOPE"), ("apiyi", "APIYI")])
def test_the_key_of_a_gateway(
    command_line: Callable[[str], CommandLine], monkeypatch: pytest.MonkeyPatch, gateway: str, prefix: str
) -> None:
    line = command_line(gateway)
    monkeypatch.delenv("WAN_API_KEY")
    monkeypatch.setenv(f"{prefix}_API_KEY", KEY)
    address = {"dashscope": "DASHSCOPE_HTTP_BASE_URL", "apiyi": "APIYI_BASE_URL"}[gateway]
    monkeypatch.setenv(address, f"{line.emulator.base_url}/api/v1")

    assert cost(line).code == 0
    assert line.emulator.ledger()[0]["gateway"] == gateway


def test_of_two_keys_the_command_line_says_which(bare: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    monkeypatch.setenv("APIYI_API_KEY", KEY)

    undecided = cost(bare)
    decided = cost(bare, "--gateway", bare.gateway, "--base-url", bare.emulator.base_url)

    assert undecided.code == 3
    assert "--gateway" in undecided.err
    assert decided.code == 0, decided.err
    assert bare.emulator.ledger()[0]["gateway"] == bare.gateway


def test_the_key_of_a_connection_goes_to_its_own_host_only(bare: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAN_DEFAULT", connection(bare))

    done = cost(bare, "--conn-id", "wan_default", "--base-url", "https://elsewhere.example")

    assert done.code == 3
    assert bare.bought == []


@pytest.mark.parametrize(
    "fields", [{"conn_type": "http"}, {"password": ""}, {"host": "https://user:secret@gateway.example"}]
)
def test_a_connection_that_cannot_be_used(
    bare: CommandLine, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAN_DEFAULT", connection(bare, **fields))

    assert cost(bare, "--conn-id", "wan_default").code == 3
    assert cost(bare, "--conn-id", "no_such_connection").code == 3
    assert cost(bare, "--gateway", "openai").code == 4


def test_another_account_does_not_touch_a_purchase(
    dashscope: CommandLine, monkeypatch: pytest.MonkeyPatch, answers_alike: Callable[..., str]
) -> None:
    dashscope.emulator.add_fault("create", "bad_gateway")
    assert dashscope.generate().code == 8
    elsewhere = answers_alike(500, b"")
    monkeypatch.setenv("WAN_BASE_URL", elsewhere)

    done = dashscope.generate()

    assert done.code == 3
    assert "The key was not sent there" in done.err
    assert len(dashscope.bought) == 1


def test_a_person_is_asked_for_the_key_and_nothing_of_it_is_shown(bare: CommandLine) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "airflow_wan.cli", "status", NO_TASK, "--base-url", bare.emulator.base_url],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=bare.folder, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = ""

    def asked() -> bool:
        nonlocal shown
        shown += os.read(ours, 1000).decode()
        return "API key for" in shown

    wait_until(asked)
    os.write(ours, f"{KEY}\n".encode())
    while piece := _read(ours):
        shown += piece
    process.wait(timeout=30)
    os.close(ours)

    assert bare.emulator.counts()["poll"]["requests"] == 1
    assert KEY not in shown
    bare.printed.append(shown)


def _read(descriptor: int) -> str:
    try:
        return os.read(descriptor, 1000).decode()
    except OSError:  # the other end is closed
        return ""


@pytest.fixture
def no_airflow(bare: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine on which Airflow is installed, and was never set up."""
    home = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    return kept | {"HOME": str(home), "AIRFLOW_HOME": str(home / "airflow"), "AIRFLOW__WAN__POLL_INTERVAL": "0.2"}


def files_in(folder: str) -> list[Path]:
    from pathlib import Path

    return [path for path in Path(folder).rglob("*") if path.is_file()]


def test_no_database_and_no_files_of_airflow_are_made(bare: CommandLine, no_airflow: dict[str, str]) -> None:
    conn = connection(bare, extra={"gateway": bare.gateway})
    environment = no_airflow | {"AIRFLOW_CONN_MINE": conn}
    arguments = ["generate", *TEXT_TO_VIDEO, "-o", str(bare.video), "--json"]

    def run(conn_id: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "airflow_wan.cli", *arguments, "--conn-id", conn_id],
            env=environment, cwd=bare.folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    unknown, known = run("of_the_database"), run("mine")

    assert (unknown.returncode, known.returncode) == (3, 0), unknown.stderr + known.stderr
    assert "is not defined" in json.loads(unknown.stdout)["error"]["message"]
    assert json.loads(known.stdout)["path"] == str(bare.video)
    assert files_in(no_airflow["HOME"]) == []
    bare.printed += [unknown.stdout, unknown.stderr, known.stdout, known.stderr]


def test_a_connection_in_the_database_of_airflow(bare: CommandLine, airflow_db: Path) -> None:
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    stored = Connection(
        conn_id="stored_wan", conn_type="wan", password=KEY, host=bare.emulator.base_url,
        extra=json.dumps({"gateway": bare.gateway}),
    )  # fmt: skip
    with create_session() as session:
        session.query(Connection).filter(Connection.conn_id == "stored_wan").delete()
        session.add(stored)
    process = bare.start("status", NO_TASK, "--conn-id", "stored_wan", "--json")

    done = bare.end(process)

    assert done.code in (0, 11), done.err
    assert bare.emulator.counts()["poll"]["requests"] == 1
