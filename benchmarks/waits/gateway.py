"""The emulator in a process of its own; prints the port that it listens on."""

from __future__ import annotations

import fast_clock

fast_clock.install()

import argparse  # noqa: E402
import time  # noqa: E402

from airflow_wan.emulator.testing import Durations, RunningEmulator, Settings  # noqa: E402


def main() -> None:
    """Serve until the standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("durations", type=Durations)
    parser.add_argument("--running", type=int, help="tasks in process at a time; without it, all")
    parser.add_argument("--without-list", action="store_true", help="answer the list with 404, as a relay does")
    options = parser.parse_args()
    # How fast tasks are created is not measured here, so they need not be created slowly.
    settings = Settings(pending_s=0, durations=options.durations, running=options.running, create_qps=None)
    with RunningEmulator(settings) as emulator:
        if options.without_list:
            emulator.add_fault("list", "not_found", times=None)
        print(emulator.base_url, flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
