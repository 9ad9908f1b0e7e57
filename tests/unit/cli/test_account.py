"""Where the key comes from: a connection, the environment, or a person; never an argument, and no database is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from command_lines import KEY, TEXT_TO_VIDEO, Done, on_a_terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command_lines import CommandLine

NO_TASK = "00000000-0000-4000-8000-000000000001"


def connection(line: CommandLine, **fields: Any) -> str:
    return json.dumps({"conn_type": "wan", "password": KEY, "host": line.emulator.base_url, **fields})


@pytest.fixture
def bare(dashscope: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line without any key."""
    for name in ("WAN_API_KEY", "WAN_BASE_URL", "WAN_GATEWAY"):
        monkeypatch.delenv(name)
    return dashscope


def test_without_a_key_nothing_is_sent(bare: CommandLine) -> None:
    done = bare.generate()

    assert done.code == 3
    assert "DASHSCOPE_API_KEY" in done.err
    assert "APIYI_API_KEY" in done.err
    assert bare.bought == []


@pytest.mark.parametrize("how", ["named", "default"])
def test_the_key_of_an_airflow_connection(bare: CommandLine, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    conn_id = {"named": "my_wan", "default": "wan_default"}[how]
    extra = {"gateway": bare.gateway}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", connection(bare, extra=extra))

    done = bare.generate(*(["--conn-id", conn_id] if how == "named" else []))

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

    assert line.generate().code == 0
    assert line.emulator.ledger()[0]["gateway"] == gateway


def test_of_two_keys_the_command_line_says_which(bare: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    monkeypatch.setenv("APIYI_API_KEY", KEY)

    undecided = bare.generate()
    decided = bare.generate("--gateway", bare.gateway, "--base-url", bare.emulator.base_url)

    assert undecided.code == 3
    assert "--gateway" in undecided.err
    assert decided.code == 0, decided.err
    assert bare.emulator.ledger()[0]["gateway"] == bare.gateway


def test_the_key_of_a_connection_goes_to_its_own_host_only(bare: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAN_DEFAULT", connection(bare))

    done = bare.generate("--conn-id", "wan_default", "--base-url", "https://elsewhere.example")

    assert done.code == 3
    assert bare.bought == []


@pytest.mark.parametrize(
    ("key", "base_url"),
    [
        ("DASHSCOPE_API_KEY", "https://api.apiyi.com"),
        ("DASHSCOPE_API_KEY", "vip.apiyi.com/v1"),
        ("APIYI_API_KEY", "https://dashscope-intl.aliyuncs.com/api/v1"),
    ],
)
def test_a_key_of_one_gateway_is_not_sent_to_the_other(
    bare: CommandLine, monkeypatch: pytest.MonkeyPatch, key: str, base_url: str
) -> None:
    monkeypatch.setenv(key, KEY)

    done = bare.generate("--base-url", base_url)

    assert done.code == 3
    assert "There is no API key" in done.err


@pytest.mark.parametrize(
    "fields", [{"conn_type": "http"}, {"password": ""}, {"host": "https://user:secret@gateway.example"}]
)
def test_a_connection_that_cannot_be_used(
    bare: CommandLine, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAN_DEFAULT", connection(bare, **fields))

    assert bare.generate("--conn-id", "wan_default").code == 3
    assert bare.generate("--conn-id", "no_such_connection").code == 3
    assert bare.generate("--gateway", "openai").code == 4


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
    done = on_a_terminal(
        bare.folder, "status", NO_TASK, "--base-url", bare.emulator.base_url,
        question="API key for", answer=f"{KEY}\n",
    )  # fmt: skip

    assert bare.emulator.counts()["poll"]["requests"] == 1
    assert "API key for" in done.out
    assert KEY not in done.out
    bare.printed.append(done.out)


def run_alone(line: CommandLine, *arguments: str, **environment: str) -> Done:
    """Run a command in a new process, which has not imported Airflow before."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow_wan.cli", *arguments],
        env={**os.environ, **environment}, cwd=line.folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    line.printed += [done.stdout, done.stderr]
    return Done(done.returncode, done.stdout, done.stderr)


def test_no_database_and_no_files_of_airflow_are_made(
    bare: CommandLine, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
        monkeypatch.delenv(name)
    environment = {"HOME": str(home), "AIRFLOW_HOME": str(home / "airflow"), "AIRFLOW__WAN__POLL_INTERVAL": "0.2"}
    environment["AIRFLOW_CONN_MINE"] = connection(bare, extra={"gateway": "dashscope"})
    arguments = ["generate", *TEXT_TO_VIDEO, "-o", str(bare.video), "--json"]

    unknown = run_alone(bare, *arguments, "--conn-id", "of_the_database", **environment)
    known = run_alone(bare, *arguments, "--conn-id", "mine", **environment)

    assert (unknown.code, known.code) == (3, 0), unknown.err + known.err
    assert "is not defined" in unknown.json["error"]["message"]
    assert known.json["path"] == str(bare.video)
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("extra", ["gateway=dashscope", "extra=%7Bbad"])
def test_nothing_is_shown_of_the_key_in_the_uri_of_a_connection(bare: CommandLine, extra: str) -> None:
    """Airflow logs what of a URI is no JSON, with all variables of the function that read it."""
    address = bare.emulator.base_url.removeprefix("http://")

    done = run_alone(bare, "doctor", "--conn-id", "uri", "--json", AIRFLOW_CONN_URI=f"wan://:{KEY}@{address}/?{extra}")

    assert isinstance(done.json["good"], bool)
    assert KEY not in done.out + done.err


def test_a_person_who_types_no_key_is_told_so(bare: CommandLine) -> None:
    done = on_a_terminal(bare.folder, "status", NO_TASK, question="API key for", answer="\x04")  # Ctrl-D

    assert done.code == 3
    assert "No API key was typed" in done.out


def test_a_connection_in_the_database_of_airflow(bare: CommandLine, airflow_db: Path) -> None:
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    stored = Connection(
        conn_id="stored_wan", conn_type="wan", password=KEY, host=bare.emulator.base_url,
        extra=json.dumps({"gateway": "dashscope"}),
    )  # fmt: skip
    with create_session() as session:
        session.query(Connection).filter(Connection.conn_id == "stored_wan").delete()
        session.add(stored)

    done = run_alone(bare, "status", NO_TASK, "--conn-id", "stored_wan", "--json")

    assert done.code in (0, 11), done.err
    assert bare.emulator.counts()["poll"]["requests"] == 1
