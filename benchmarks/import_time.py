"""Measures how much time the import of airflow_wan.operators.wan adds to a DAG file that imports airflow.sdk."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

# Runs in a new process, after the import of the names that every DAG file uses. It measures processor time, so that
# other load on the machine does not count.
_MEASURED = """
import time
from airflow.sdk import DAG, BaseOperator, Param, task
started = time.process_time()
import airflow_wan.operators.wan
print(time.process_time() - started)
"""


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=15, help="number of new processes to measure in")
    processes = parser.parse_args().processes
    _measure()  # the first run only writes the bytecode
    milliseconds = sorted(_measure() for _ in range(processes))
    print(
        f"import airflow_wan.operators.wan after airflow.sdk: median {statistics.median(milliseconds):.0f} ms "
        f"({milliseconds[0]:.0f} to {milliseconds[-1]:.0f} ms, {processes} processes)"
    )


def _measure() -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", _MEASURED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout) * 1000


if __name__ == "__main__":
    main()
