"""The package as a user gets it: installed into an environment of its own, and used."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_wan import __version__
from airflow_wan.emulator.testing import FAST, MediaServer, RunningEmulator
from airflow_wan.get_provider_info import get_provider_info

if TYPE_CHECKING:
    from built_package import Installed

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(600)  # s: a whole Airflow is installed, and its database made


def test_the_package_is_that_of_the_environment(installed: Installed) -> None:
    where = installed.run("python", "-c", "import airflow_wan; print(airflow_wan.__file__)")

    assert where.startswith(str(installed.folder))


DOCUMENTATION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["urls"]["Documentation"]


def get_provider(installed: Installed, *options: str) -> Any:
    told = installed.airflow("providers", "get", "airflow-provider-wan", *options, "--output", "json")
    return json.loads(next(line for line in told.splitlines() if line.startswith("[{")))  # warnings may stand before


def shown(info: dict[str, Any]) -> dict[str, Any]:
    """Return what is compared: Airflow prints numbers as texts, and the description without its full stop."""
    (connection_type,) = info["connection-types"]
    return {
        "names": (info["package-name"], info["name"], info["description"].rstrip(".")),
        "connection": (connection_type["connection-type"], sorted(connection_type["conn-fields"])),
        "options": sorted(info["config"]["wan"]["options"]),
        "kinds": sorted(info.keys() - {"documentation-url"}),
    }


def test_airflow_shows_the_provider_its_version_and_its_connection_type(installed: Installed) -> None:
    (told,) = get_provider(installed)
    (in_full,) = get_provider(installed, "--full")

    assert (told["Provider"], told["Version"]) == ("airflow-provider-wan", __version__)
    info = get_provider_info()
    assert shown(in_full) == shown(info)
    # Airflow 3.0 does not tell it, and 3.1 and 3.2 put a space before it.
    assert in_full.get("documentation-url", DOCUMENTATION).strip() == DOCUMENTATION
    assert "airflow_wan.hooks.wan.WanHook" in installed.airflow("providers", "hooks")


def test_airflow_loads_the_plugin_of_the_pages(installed: Installed) -> None:
    assert "wan_pages" in installed.airflow("plugins", "--output", "json")


def test_the_command_is_there_and_says_what_it_is_missing(installed: Installed) -> None:
    # Some Airflows bring the packages of the extra `cli` along.
    command = [installed.python.with_name("airflow-wan"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=installed.environment, check=False)

    assert "doctor" in done.stdout if done.returncode == 0 else "airflow-provider-wan[cli]" in done.stderr


def test_a_connection_is_added_and_an_example_run_with_it(installed: Installed, tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((1280, 720)).convert("RGB").save(tmp_path / "rap.png")
    with RunningEmulator(FAST) as emulator, MediaServer(tmp_path) as media:
        installed.airflow(
            "connections", "add", "wan_default", "--conn-type", "wan",
            "--conn-password", "sk-wheel-0123456789", "--conn-host", emulator.base_url,
        )  # fmt: skip
        conf = json.dumps({"first_frame": media.url("rap.png")})

        log = installed.airflow("dags", "test", "example_wan_image_to_video", "--conf", conf)

        assert [bill["billed"] for bill in emulator.ledger()] == [True]
    assert "state=success" in log or "state:success" in log
    # Airflow 3.0 itself prints, at the level DEBUG that this command has there, what it is told to mask.
    own = [line for line in log.splitlines() if "MaskSecret(value=" not in line or installed.airflow_version >= "3.1"]
    assert not [line for line in own if "sk-wheel-0123456789" in line]
