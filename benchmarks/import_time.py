"""Measures what the import of each public module adds to a process that has imported airflow.sdk, and what others add.

Processor time is measured, so that other load on the machine does not count, and resident memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from page import Table, machine, write_section

# Runs in a new process, after the import of the names that every DAG file uses.
_MEASURED = """
import sys, time
from airflow.sdk import DAG, BaseOperator, Param, task
def resident_bytes():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * {page_bytes}
before = resident_bytes()
started = time.process_time()
import {module}
print(time.process_time() - started, resident_bytes() - before)
"""

KINDS = ("operators", "sensors", "triggers", "hooks")
OURS = "airflow_wan"
MODULES = {
    OURS: {kind: f"airflow_wan.{kind}.wan" for kind in KINDS},
    "http": {kind: f"airflow.providers.http.{kind}.http" for kind in KINDS},
    "openai": {kind: f"airflow.providers.openai.{kind}.openai" for kind in KINDS if kind != "sensors"},
    # Its operators that make videos, and modules of its other kinds for jobs that take long.
    "google": {
        "operators": "airflow.providers.google.cloud.operators.gen_ai",
        "sensors": "airflow.providers.google.cloud.sensors.dataproc",
        "triggers": "airflow.providers.google.cloud.triggers.vertex_ai",
        "hooks": "airflow.providers.google.cloud.hooks.gen_ai",
    },
}
PACKAGES = tuple(f"apache-airflow-providers-{name}" for name in MODULES if name != OURS)


@dataclass(frozen=True)
class Cost:
    """What an import costs: the median of all processes."""

    ms: float
    mib: float


def main() -> None:
    """Measure all modules, print the table, and write its section of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=15, help="number of new processes for each module")
    parser.add_argument("--only", help="measure only the modules of this provider; the page is not written then")
    chosen = parser.parse_args()
    started = time.monotonic()
    costs = {
        module: _cost(module, chosen.processes)
        for provider, modules in MODULES.items()
        for module in modules.values()
        if chosen.only in (None, provider)
    }
    rows = [list(_row(module, kind, costs)) for kind in KINDS for module in _of_kind(kind) if module in costs]
    shown = str(Table(["module", "ms of processor time", "http's = 1", "MiB"], rows))
    print(shown)
    if not chosen.only:
        told = f"Median of {chosen.processes} processes each. {machine(PACKAGES, time.monotonic() - started)}"
        write_section("imports", f"{shown}\n{told}")


def _of_kind(kind: str) -> list[str]:
    return [modules[kind] for modules in MODULES.values() if kind in modules]


def _row(module: str, kind: str, costs: dict[str, Cost]) -> tuple[str, ...]:
    cost, of_http = costs[module], costs.get(MODULES["http"][kind])
    ratio = f"{cost.ms / of_http.ms:.1f}" if of_http else ""
    return f"`{module}`", f"{cost.ms:.0f}", ratio, f"{cost.mib:.1f}"


def _cost(module: str, processes: int) -> Cost:
    _measure(module)  # the first run only writes the bytecode
    measured = [_measure(module) for _ in range(processes)]
    return Cost(
        statistics.median(seconds for seconds, _ in measured) * 1000,
        statistics.median(more_bytes for _, more_bytes in measured) / 2**20,
    )


def _measure(module: str) -> tuple[float, int]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    program = _MEASURED.format(module=module, page_bytes=os.sysconf("SC_PAGE_SIZE"))
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} cannot be imported: {done.stderr.strip().splitlines()[-1]}")
    seconds, more_bytes = done.stdout.split()[-2:]
    return float(seconds), int(more_bytes)


if __name__ == "__main__":
    main()
