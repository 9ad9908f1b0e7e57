from __future__ import annotations

import base64
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from airflow_wan.emulator.__main__ import main
from airflow_wan.emulator.testing import AT_ONCE, MediaServer, RunningEmulator

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_is_left_running(i2v: Any) -> None:
    before = set(threading.enumerate())
    headers = {"Authorization": "Bearer sk-running", "X-DashScope-Async": "enable"}
    path = "/api/v1/services/aigc/video-generation/video-synthesis"

    with RunningEmulator(AT_ONCE) as emulator:
        i2v["parameters"]["duration"] = 7
        assert httpx.post(emulator.base_url + path, json=i2v, headers=headers, verify=False).status_code == 200

    # Threads of the session's media server come and go with its requests.
    left = {thread for thread in set(threading.enumerate()) - before if thread.name.startswith("wan-")}
    assert not left
    with pytest.raises(httpx.ConnectError):
        httpx.get(emulator.base_url, verify=False)


def test_two_emulators_run_side_by_side(i2v: Any) -> None:
    headers = {"Authorization": "Bearer sk-running", "X-DashScope-Async": "enable"}
    path = "/api/v1/services/aigc/video-generation/video-synthesis"

    with RunningEmulator() as one, RunningEmulator() as other:
        httpx.post(one.base_url + path, json=i2v, headers=headers, verify=False)

        assert len(one.ledger()) == 1
        assert other.ledger() == []


@pytest.mark.parametrize("create_path", ["", "/wan"])
def test_a_task_at_once_is_finished_at_its_first_poll(i2v: Any, create_path: str) -> None:
    i2v["input"]["media"] = [{"type": "first_frame", "url": _unseen_picture()}]
    headers = {"Authorization": "Bearer sk-running", "X-DashScope-Async": "enable"}
    path = f"{create_path}/api/v1/services/aigc/video-generation/video-synthesis"

    with (
        RunningEmulator(AT_ONCE) as emulator,
        httpx.Client(base_url=emulator.base_url, headers=headers, verify=False) as http,
    ):
        task_id = http.post(path, json=i2v).json()["output"]["task_id"]
        body = http.get(f"{'/v1' if create_path else '/api/v1'}/tasks/{task_id}").json()

    assert body.get("status") == "completed" or body["output"]["task_status"] == "SUCCEEDED"


def test_the_media_server_serves_its_directory(tmp_path: Path, web: httpx.Client) -> None:
    (tmp_path / "a.txt").write_text("here")

    with MediaServer(tmp_path) as server:
        found, absent = web.get(server.url("a.txt")), web.get(server.url("b.txt"))

    assert (found.text, found.headers["content-length"]) == ("here", "4")
    assert absent.status_code == 404


def test_the_command_line_serves_until_interrupted() -> None:
    port = _free_port()
    command = [sys.executable, "-m", "airflow_wan.emulator", "--port", str(port), "--api-key", "sk-cli"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            answer = _first_answer(f"http://127.0.0.1:{port}/api/v1/tasks/", process)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=20)
        finally:
            process.kill()

    assert answer.status_code == 200
    assert "Traceback" not in output
    assert "sk-cli" not in output


def test_help_names_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])

    told = capsys.readouterr().out
    flags = (
        "--host --port --pending-s --running-s --api-key --reject-key --ungrouped-key --key-region --balance-usd "
        "--durations --speed --create-qps "
        "--running --read-qps --list-qps --cancel-qps --no-limits --retry-after --list-key --list-largest-page "
        "--list-order --list-utc-offset-h --list-delay-s --latency-s --media-mirror --fault"
    )
    assert not [flag for flag in flags.split() if flag not in told]


@pytest.mark.parametrize(
    "option", ["--create-qps 0", "--running many", "--read-qps 1.5", "--speed 0", "--durations long", "--list-key rows"]
)
def test_an_option_that_makes_no_sense_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(option.split())

    name, value = option.split()
    told = capsys.readouterr().err
    assert value in told
    assert name.strip("-").replace("-", "_") in told.replace("-", "_")


def test_the_command_line_sets_the_limits() -> None:
    port = _free_port()
    options = [
        "--create-qps",
        "1",
        "--running",
        "none",
        "--list-key",
        "tasks",
        "--durations",
        "wan3",
        "--speed",
        "50",
        "--retry-after",
        "9",
    ]
    command = [sys.executable, "-m", "airflow_wan.emulator", "--port", str(port), *options]
    body = {"model": "wan2.7-t2v", "input": {"prompt": "x"}, "parameters": {"duration": 2}}
    headers = {"Authorization": "Bearer sk-cli", "X-DashScope-Async": "enable"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        try:
            listed = _first_answer(f"http://127.0.0.1:{port}/api/v1/tasks/", process)
            path = f"http://127.0.0.1:{port}/api/v1/services/aigc/video-generation/video-synthesis"
            created = [httpx.post(path, json=body, headers=headers, verify=False) for _ in range(4)]
        finally:
            process.kill()

    throttled = [answer for answer in created if answer.status_code == 429]
    assert listed.json()["tasks"] == []
    assert created[0].status_code == 200
    assert throttled
    assert throttled[0].headers["retry-after"] == "9"


def test_a_mirror_without_target_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--media-mirror", "https://your-cdn.com/"])

    assert "PREFIX=TARGET" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["airflow_wan.emulator.__main__", "airflow_wan.emulator.testing"])
def test_a_missing_package_is_reported_with_the_install_command(module: str) -> None:
    program = f"import sys, runpy; sys.modules['av'] = None; runpy.run_module({module!r}, run_name='__main__')"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode != 0
    last_line = done.stderr.rstrip().splitlines()[-1]
    assert "'av'" in last_line
    assert last_line.endswith("pip install 'airflow-provider-wan[emulator]'")


def test_the_emulator_imports_neither_airflow_nor_the_client() -> None:
    program = (
        "import sys, airflow_wan.emulator.testing, airflow_wan.emulator.pytest_plugin\n"
        "names = [n for n in sys.modules if n == 'airflow' or n.startswith(('airflow.', 'airflow_wan.'))]\n"
        "print([n for n in names if not n.startswith('airflow_wan.emulator')])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def _unseen_picture() -> str:
    """Return a data URI that no other test uses, so that its mp4 has to be rendered."""
    target = io.BytesIO()
    Image.frombytes("RGB", (256, 256), os.urandom(256 * 256 * 3)).save(target, "PNG")
    return "data:image/png;base64," + base64.b64encode(target.getvalue()).decode()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _first_answer(url: str, process: subprocess.Popen[str]) -> httpx.Response:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return httpx.get(url, headers={"Authorization": "Bearer sk-cli"}, verify=False)
        except httpx.ConnectError:
            time.sleep(0.05)
    raise AssertionError(f"the emulator (pid {os.getpid()}'s child {process.pid}) did not answer")
