"""Compare speed and memory of airflow_wan's download with those of curl and httpx, over loopback.

Each download runs in its own process, and they take turns, so that a machine that slows down slows all of them. The
time is measured from the request to the last byte on disk; imports are not counted. curl and httpx verify nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
MIB = 1024 * 1024

# Prints the seconds, and the bytes of memory used in addition to those after the imports.
_MEASURED = """
import resource, sys, time
from pathlib import Path
{imports}
url, path = sys.argv[1], Path(sys.argv[2])
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
{work}
seconds = time.perf_counter() - began
print(seconds, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle))
"""
_OURS = _MEASURED.format(
    imports="import httpx, tenacity.nap\nfrom airflow_wan.videos.download import download",
    work="""
tls = httpx.create_ssl_context()
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tenacity.nap.time.sleep = lambda _: None
began = time.perf_counter()
file = download(lambda: url, path, tls=tls, private_allowed=True)
assert {"length", "crc64"} <= set(file.checks)""",
)
_HTTPX = _MEASURED.format(
    imports="import httpx",
    work="""
with httpx.stream("GET", url, verify=False) as response, path.open("wb") as file:
    for chunk in response.iter_bytes():
        file.write(chunk)""",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="number of downloads by each")
    parser.add_argument("--mib", type=int, default=512, help="size of the file, MiB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, target = folder / "source", folder / "target"
        with source.open("wb") as file:
            for _ in range(options.mib):
                file.write(os.urandom(MIB))
        with _host(source) as host:
            ways = {
                "curl": lambda: _curl(host.url, target),
                "httpx, nothing verified": lambda: _python(_HTTPX, host.url, target),
                "airflow_wan: length, CRC-64, SHA-256": lambda: _python(_OURS, host.url, target),
            }
            results = defaultdict(list)
            for _ in range(options.rounds):
                for way, measure in ways.items():
                    results[way].append(measure())
                    target.unlink()
        with _host(source, "--breaks", "10") as breaking:
            _python(_OURS, breaking.url, target)
        fetched = breaking.sent / source.stat().st_size
    _report(results, options.mib)
    print(f"\nTen connections reset on the way: {fetched:.4f} times the file's bytes fetched.")


class _Host:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.url = f"http://127.0.0.1:{process.stdout.readline().strip()}/film.mp4"
        self.sent = 0


@contextmanager
def _host(source: Path, *options: str) -> Iterator[_Host]:
    command = [sys.executable, HERE / "file_host.py", source, *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        host = _Host(process)
        yield host
        process.stdin.close()
        host.sent = int(process.stdout.readline())


def _curl(url: str, target: Path) -> tuple[float, float | None]:
    command = ["curl", "--silent", "--fail", "--noproxy", "*", "--output", target, "--write-out", "%{time_total}", url]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout), None


def _python(program: str, url: str, target: Path) -> tuple[float, float | None]:
    command = [sys.executable, "-c", program, url, target]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


def _report(results: dict[str, list[tuple[float, float | None]]], mib: int) -> None:
    print("| | MiB/s, median | of curl's | slowest to fastest | memory above idle, most |")
    print("|---|---|---|---|---|")
    curl = statistics.median(mib / seconds for seconds, _ in results["curl"])
    for way, runs in results.items():
        speeds = sorted(mib / seconds for seconds, _ in runs)
        median = statistics.median(speeds)
        memories = [memory for _, memory in runs if memory is not None]
        memory = f"{max(memories) / MIB:.1f} MiB" if memories else ""
        print(f"| {way} | {median:.0f} | {median / curl:.2f} | {speeds[0]:.0f} to {speeds[-1]:.0f} | {memory} |")


if __name__ == "__main__":
    main()
