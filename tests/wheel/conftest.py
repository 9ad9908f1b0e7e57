"""The package as a user gets it: built, and installed into clean environments that know nothing of this repository.

RELEASE_CELLS names Airflows and Pythons, such as ``3.0.6-py3.12``: wheel and sdist are then installed with each.
Without it, the wheel is installed with the Airflow and the Python that run the tests. DIST names the folder of what
was built.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow import __version__ as airflow_version
from built_package import UV, Distributions, Installed, run

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]

_THIS_CELL = f"{airflow_version}-py{sys.version_info[0]}.{sys.version_info[1]}"
_CELLS = os.environ.get("RELEASE_CELLS", "").split()
_INSTALLS = [(cell, kind) for cell in _CELLS or [_THIS_CELL] for kind in (("wheel", "sdist") if _CELLS else ("wheel",))]


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Return the wheel and the sdist; the wheel is built from the sdist, which is so shown to be complete."""
    if given := os.environ.get("DIST"):
        folder = REPOSITORY / given
    else:
        folder = tmp_path_factory.mktemp("dist")
        run(UV, "build", "--quiet", "--out-dir", folder, REPOSITORY)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Distributions(wheel, sdist)


@pytest.fixture(scope="session", params=_INSTALLS, ids="-".join)
def installed(
    request: pytest.FixtureRequest, distributions: Distributions, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    """Yield an environment with the wheel or the sdist, and a migrated database."""
    cell, kind = request.param
    airflow, _, version = cell.partition("-py")
    folder = tmp_path_factory.mktemp("user")
    python = folder / "venv" / "bin" / "python"
    base = sys.executable if cell == _THIS_CELL else run(REPOSITORY / "scripts" / "find_python.sh", version).strip()
    run(UV, "venv", "--quiet", "--python", base, folder / "venv")
    constraints = REPOSITORY / "constraints" / f"airflow-{airflow}.txt"
    package = getattr(distributions, kind)
    run(UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, "--constraint", constraints, package)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "COV", "PYTHON"))
    }
    environment |= {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "example_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__WAN__POLL_INTERVAL": "0.2",
    }
    user = Installed(airflow, python, folder, environment)
    assert user.airflow("version").splitlines()[-1] == airflow
    user.airflow("db", "migrate")
    yield user
    shutil.rmtree(folder)
