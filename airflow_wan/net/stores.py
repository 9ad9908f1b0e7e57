"""The object stores that videos go to and media come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_AMAZON, _GOOGLE, _AZURE, _OSS = (f"airflow-provider-wan[{extra}]" for extra in ("s3", "gcs", "azure", "oss"))

STORE_PACKAGES: Mapping[str, str] = {
    "s3": _AMAZON,
    "s3a": _AMAZON,
    "gs": _GOOGLE,
    "gcs": _GOOGLE,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "oss": _OSS,
}
"""The URI scheme of each object store, and the package that brings its file system to Airflow.

These are the schemes that Airflow's providers register. Two are left out, as the file systems behind them do not
understand them: ``s3n`` (amazon) and ``adl`` (microsoft-azure). No provider registers ``az``.
"""


def what_to_install(scheme: str) -> str:
    """Return a sentence that names the package for a store, with a space before it; empty if it is not known."""
    package = STORE_PACKAGES.get(scheme.lower())
    return f" For {scheme}:// the workers need the package {package}." if package else ""
