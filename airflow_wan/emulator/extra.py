"""The check that the packages of the `emulator` extra are installed."""

from __future__ import annotations

from importlib import import_module

_PACKAGES = ("av", "httpx", "PIL", "starlette", "uvicorn")


def require_extra() -> None:
    """Raise ImportError with the one command that mends it, when a package of the extra is missing."""
    for package in _PACKAGES:
        try:
            import_module(package)
        except ImportError as error:
            raise ImportError(
                f"The Wan emulator needs the package {package!r}: pip install 'airflow-provider-wan[emulator]'"
            ) from error
