"""The page of all benchmarks: tables, what they were measured on, and the section that each benchmark writes."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Table:
    """A table in Markdown."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        """Return its lines."""
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine(packages: Sequence[str], took_s: float) -> str:
    """Return a sentence that says when and on what it was measured, and for how long."""
    versions = ", ".join(
        f"{package} {version(package)}" for package in ("apache-airflow", "airflow-provider-wan", *packages)
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Measured on {datetime.now(tz=UTC):%Y-%m-%d}, in {took_s / 60:.0f} minutes, on {os.cpu_count()} cores "
        f"({_processor()}) with {memory_gib:.0f} GiB, mean load of the last 15 minutes {os.getloadavg()[2]:.1f}: "
        f"Python {platform.python_version()}, {versions}.\n"
    )


def write_section(name: str, text: str) -> None:
    """Replace a benchmark's section of the page: what stands between its two marks.

    :raises ValueError: if the page has no such section.
    """
    before, begin, rest = PAGE.read_text().partition(f"<!-- {name}: begin -->\n")
    _, end, after = rest.partition(f"<!-- {name}: end -->\n")
    if not end:
        raise ValueError(f"{PAGE} has no section {name}.")
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
