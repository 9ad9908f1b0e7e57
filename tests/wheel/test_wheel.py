"""The package as a user gets it: built, installed from its wheel into an environment of its own, and used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow import __version__ as airflow_version
from PIL import Image

from airflow_wan.emulator.testing import FAST, MediaServer, RunningEmulator

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")

pytestmark = pytest.mark.timeout(600)  # s: a whole Airflow is installed, and its database made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    _run(UV, "build", "--quiet", "--out-dir", folder, REPOSITORY)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def airflow(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs an `airflow` command in an environment that has the wheel and knows nothing of this repository."""
    folder = tmp_path_factory.mktemp("user")
    python = folder / "venv" / "bin" / "python"
    constraints = REPOSITORY / "constraints" / f"airflow-{airflow_version}.txt"
    _run(UV, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    _run(UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, "--constraint", constraints, wheel)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "COV", "PYTHON"))
    }
    environment |= {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "example_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__WAN__POLL_INTERVAL": "0.2",
    }

    def run(*arguments: str) -> str:
        return _run(python.with_name("airflow"), *arguments, env=environment, cwd=folder)

    run("db", "migrate")
    return run


def _run(*command: str | Path, **options: object) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_it_holds_the_package_its_licence_and_its_types_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.partition("/")[0] for name in names} - {"airflow_wan"} == {
        wheel.name.partition("-py3")[0] + ".dist-info"
    }
    assert "airflow_wan/py.typed" in names
    pages = REPOSITORY / "airflow_wan" / "pages"
    parts = [path for folder in ("templates", "static") for path in (pages / folder).iterdir()]
    assert len(parts) > 5
    assert {f"airflow_wan/pages/{path.relative_to(pages)}" for path in parts} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_airflow_lists_the_provider_and_its_connection_type(airflow: Callable[..., str]) -> None:
    assert "airflow-provider-wan" in airflow("providers", "list")
    assert "airflow_wan.hooks.wan.WanHook" in airflow("providers", "hooks")


def test_airflow_loads_the_plugin_of_the_pages(airflow: Callable[..., str]) -> None:
    assert "wan_pages" in airflow("plugins", "--output", "json")


def test_a_connection_is_added_and_an_example_run_with_it(airflow: Callable[..., str], tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((1280, 720)).convert("RGB").save(tmp_path / "rap.png")
    with RunningEmulator(FAST) as emulator, MediaServer(tmp_path) as media:
        airflow(
            "connections", "add", "wan_default", "--conn-type", "wan",
            "--conn-password", "sk-wheel-0123456789", "--conn-host", emulator.base_url,
        )  # fmt: skip
        conf = json.dumps({"first_frame": media.url("rap.png")})

        log = airflow("dags", "test", "example_wan_image_to_video", "--conf", conf)

        assert [bill["billed"] for bill in emulator.ledger()] == [True]
    assert "state=success" in log or "state:success" in log
    assert "sk-wheel-0123456789" not in log
