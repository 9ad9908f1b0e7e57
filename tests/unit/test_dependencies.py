"""Every package that the code imports is declared in pyproject.toml, in the extra of the module that imports it."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import airflow_wan

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(airflow_wan.__file__).parent
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

EXTRAS = {
    "cli/": "cli",
    "emulator/": "emulator",
    "films/": "films",
    "fs/oss.py": "oss",
    "media/fitted_pictures.py": "adapt",
    "media/frames.py": "inspection",
    "videos/acceptance.py": "inspection",
}
"""The extra that a module, or the modules of a folder, may import from."""

# A module imports these only when the package itself calls it.
CALLED_BY = {
    "emulator/pytest_plugin.py": "pytest",
    "telemetry/lineage.py": "apache-airflow-providers-openlineage",
}

OF_THE_API_SERVER = {"fastapi", "sqlalchemy", "starlette"}
"""What Airflow's API server runs on, and so need not be declared by what runs nowhere else: `airflow_wan.pages`."""

MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def imported(module: str) -> Iterator[str]:
    """Yield each module that a module imports, at its top or later."""
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def distributions(name: str) -> set[str]:
    """Return the distributions that a module may come from."""
    parts = name.split(".")
    if parts[:2] == ["airflow", "providers"]:
        # A provider's name has one part or more; the rest are modules.
        return {"apache-airflow-providers-" + "-".join(parts[2:end]) for end in range(3, len(parts) + 1)}
    if parts[0] == "airflow":
        return {"apache-airflow"}
    return {canonicalize_name(found) for found in packages_distributions().get(parts[0], [])}


def declared(module: str) -> set[str]:
    """Return the distributions that are installed when a module is used."""
    extras = [extra for start, extra in EXTRAS.items() if module.startswith(start)]
    requirements = PROJECT["dependencies"] + [one for name in extras for one in PROJECT["optional-dependencies"][name]]
    brought = {CALLED_BY.get(module, "")} | (OF_THE_API_SERVER if module.startswith("pages/") else set())
    return {canonicalize_name(Requirement(one).name) for one in requirements} | brought


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_imports_is_declared(module: str) -> None:
    foreign = {
        name for name in imported(module) if name.partition(".")[0] not in {*sys.stdlib_module_names, "airflow_wan"}
    }

    absent = [name for name in foreign if not distributions(name)]
    if absent and module in EXTRAS:
        pytest.skip(f"{absent[0]} is not installed")

    missing = {name for name in foreign if not distributions(name) & declared(module)}

    assert missing == set()


@pytest.mark.parametrize("module", [*CALLED_BY, "fs/oss.py", "media/frames.py", "videos/acceptance.py"])
def test_an_exception_is_still_needed(module: str) -> None:
    assert module in MODULES


def test_every_extra_has_a_module_or_is_a_store() -> None:
    stores = {"s3", "gcs", "azure"}

    assert set(PROJECT["optional-dependencies"]) == {*EXTRAS.values(), *stores}
