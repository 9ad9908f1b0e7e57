"""The message for a package of the `emulator` extra that is not installed."""

from __future__ import annotations


def missing_extra(error: ModuleNotFoundError) -> ImportError:
    """Return an error that names the missing package and the command that installs it."""
    package = (error.name or "").partition(".")[0]
    return ImportError(f"The Wan emulator needs the package {package!r}: pip install 'airflow-provider-wan[emulator]'")
