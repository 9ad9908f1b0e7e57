"""The command line: `python -m airflow_wan.emulator --port 8765`."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from airflow_wan.emulator.clock import LONGEST_S, is_seconds
from airflow_wan.emulator.dependencies import missing_extra
from airflow_wan.emulator.durations import Durations
from airflow_wan.emulator.faults import Fault
from airflow_wan.emulator.regions import REGIONS
from airflow_wan.emulator.settings import Settings, is_limit
from airflow_wan.emulator.validation import parse_json

try:
    import uvicorn

    from airflow_wan.emulator.app import Emulator
    from airflow_wan.emulator.connections import HttpProtocol
except ModuleNotFoundError as error:
    sys.exit(str(missing_extra(error)))

if TYPE_CHECKING:
    from collections.abc import Sequence

_LAST_PORT = 65_535
_LIMITS = {
    "create_qps": "creates a second that DashScope takes from each key for each model",
    "running": "tasks that it has in process at a time for each key and model; later ones wait PENDING",
    "read_qps": "reads of a single task a second that it takes from each key",
    "list_qps": "reads of the list a second that it takes from each key",
    "cancel_qps": "cancels a second that it takes from each key",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; serve until interrupted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        settings = _settings(options)
    except ValueError as error:
        parser.error(str(error))
    # Older uvicorns (0.30 among them) raise KeyboardInterrupt again after they have shut down.
    with closing(Emulator(settings)) as emulator, suppress(KeyboardInterrupt):
        emulator.faults.add(options.fault)
        uvicorn.run(
            emulator.app,
            host=options.host,
            port=options.port,
            http=HttpProtocol,
            lifespan="off",
            ws="none",
            date_header=False,
        )


def _parser() -> argparse.ArgumentParser:
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m airflow_wan.emulator",
        description="A stand-in for the Wan video gateways of APIYI and DashScope. It never costs money.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on. 0.0.0.0 lets everyone in your network create tasks, make this machine fetch any "
        "URL that it can reach, and use all controls under /_emulator: use it only in a network that you trust.",
    )
    parser.add_argument("--port", type=_port, default=8765, help="port to listen on")
    parser.add_argument(
        "--pending-s", type=_seconds, default=defaults.pending_s, help="seconds that a task stays PENDING"
    )
    parser.add_argument(
        "--running-s", type=_seconds, default=defaults.running_s, help="seconds that it then stays RUNNING"
    )
    parser.add_argument("--api-key", help="the only key that is accepted (default: every sk-... key)")
    parser.add_argument(
        "--reject-key", action="append", default=[], metavar="KEY", help="a key to refuse; can be repeated"
    )
    parser.add_argument(
        "--ungrouped-key",
        action="append",
        default=[],
        metavar="KEY",
        help="a key of an APIYI token that is not in the group Wan&HappyHorse; can be repeated",
    )
    parser.add_argument(
        "--key-region",
        action="append",
        default=[],
        type=_key_region,
        metavar="KEY=REGION",
        help="the DashScope region that a key belongs to; can be repeated",
    )
    parser.add_argument(
        "--balance-usd", type=float, default=defaults.balance_usd, help="the balance that APIYI tells the system token"
    )
    parser.add_argument(
        "--durations",
        type=Durations,
        choices=list(Durations),
        default=defaults.durations,
        help="spread of the seconds that a task stays RUNNING; fixed is --running-s",
    )
    parser.add_argument(
        "--speed", type=float, default=defaults.speed, help="how many times faster tasks go through their states"
    )
    for name, what in _LIMITS.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=_limit, default=getattr(defaults, name), help=f"{what}, or 'none'")
    parser.add_argument("--no-limits", "--no-qps-limit", action="store_true", help="set all five limits to 'none'")
    parser.add_argument("--retry-after", help="what the header Retry-After of their 429s says (default: no header)")
    parser.add_argument(
        "--list-key", choices=("data", "tasks"), default=defaults.list_key, help="name of the rows in DashScope's list"
    )
    parser.add_argument(
        "--list-largest-page", type=int, default=defaults.list_largest_page, help="greatest page of that list"
    )
    parser.add_argument(
        "--list-order",
        choices=("newest first", "oldest first"),
        default=defaults.list_order,
        help="which tasks that list begins with",
    )
    parser.add_argument(
        "--list-utc-offset-h",
        type=float,
        default=defaults.list_utc_offset_h,
        help="hours from UTC of the times in a request for that list",
    )
    parser.add_argument(
        "--list-delay-s",
        type=_seconds,
        default=defaults.list_delay_s,
        help="seconds by which the rows of that list are older than the tasks",
    )
    parser.add_argument(
        "--latency-s", type=float, default=defaults.latency_s, help="seconds by which every answer comes later"
    )
    parser.add_argument(
        "--media-mirror",
        action="append",
        default=[],
        type=_mirror,
        metavar="PREFIX=TARGET",
        help="fetch media whose URL begins with PREFIX from TARGET instead; can be repeated",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        type=_fault,
        metavar="JSON",
        help="a fault, in the JSON that POST /_emulator/faults takes: "
        """{"on":"create","kind":"drop_connection"}; can be repeated""",
    )
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not is_seconds(seconds):
        raise argparse.ArgumentTypeError(f"expected a number of seconds from 0 to {LONGEST_S}, got {text!r}")
    return seconds


def _limit(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isascii() or not text.isdecimal() or not is_limit(int(text)):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, or none, got {text!r}")
    return int(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not int(text) <= _LAST_PORT:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to {_LAST_PORT}, got {text!r}")
    return int(text)


def _fault(text: str) -> Fault:
    try:
        return Fault.from_json(parse_json(text.encode(errors="replace")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _mirror(text: str) -> tuple[str, str]:
    # The prefix may contain "=" too, so the split is where the target's scheme begins.
    prefix, separator, target = text.rpartition("=http")
    if not separator or not prefix:
        raise argparse.ArgumentTypeError(
            f"expected PREFIX=TARGET, such as https://cdn.com/=http://127.0.0.1:9000/, got {text!r}"
        )
    return prefix, f"http{target}"


def _key_region(text: str) -> tuple[str, str]:
    key, separator, region = text.rpartition("=")
    if not separator or not key or region not in REGIONS:
        raise argparse.ArgumentTypeError(f"expected KEY=REGION with a region out of {', '.join(REGIONS)}, got {text!r}")
    return key, region


def _settings(options: argparse.Namespace) -> Settings:
    limits: dict[str, Any] = {name: None if options.no_limits else getattr(options, name) for name in _LIMITS}
    return Settings(
        **limits,
        pending_s=options.pending_s,
        running_s=options.running_s,
        api_key=options.api_key,
        rejected_keys=frozenset(options.reject_key),
        ungrouped_keys=frozenset(options.ungrouped_key),
        key_regions=tuple(options.key_region),
        balance_usd=options.balance_usd,
        durations=options.durations,
        speed=options.speed,
        retry_after=options.retry_after,
        list_key=options.list_key,
        list_largest_page=options.list_largest_page,
        list_order=options.list_order,
        list_utc_offset_h=options.list_utc_offset_h,
        list_delay_s=options.list_delay_s,
        latency_s=options.latency_s,
        media_mirrors=tuple(options.media_mirror),
    )


if __name__ == "__main__":
    main()
