"""The package as a user gets it: installed into an environment of its own, and used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from airflow_wan import __version__
from airflow_wan.emulator.testing import FAST, MediaServer, RunningEmulator
from airflow_wan.get_provider_info import get_provider_info

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Installed

pytestmark = pytest.mark.timeout(600)  # s: a whole Airflow is installed, and its database made


def test_the_package_is_that_of_the_environment(installed: Installed) -> None:
    where = installed.run("python", "-c", "import airflow_wan; print(airflow_wan.__file__)")

    assert where.startswith(str(installed.folder))


def test_airflow_shows_the_provider_its_version_and_its_connection_type(installed: Installed) -> None:
    (told,) = json.loads(installed.airflow("providers", "get", "airflow-provider-wan", "--output", "json"))

    assert told["Provider"] == "airflow-provider-wan"
    assert told["Version"] == __version__
    assert told["Description"].strip() == get_provider_info()["description"]
    assert "airflow_wan.hooks.wan.WanHook" in installed.airflow("providers", "hooks")


def test_airflow_loads_the_plugin_of_the_pages(installed: Installed) -> None:
    assert "wan_pages" in installed.airflow("plugins", "--output", "json")


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
    assert "sk-wheel-0123456789" not in log
