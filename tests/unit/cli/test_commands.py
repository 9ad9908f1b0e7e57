"""What each command does, prints and returns."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_lines import wait_until
from PIL import Image

from airflow_wan.api.catalogue import known_model_ids
from airflow_wan.purchases.record import Intent, Order

if TYPE_CHECKING:
    from command_lines import CommandLine

COMMANDS = {"generate", "status", "fetch", "list", "cancel", "estimate", "models", "check", "doctor", "emulator"}


def calls(line: CommandLine) -> int:
    """How many calls of the API the emulator has got."""
    return sum(row["requests"] for row in line.emulator.counts().values())


@pytest.fixture
def picture(tmp_path: Path) -> str:
    """A first frame in the folder of the command, by its name alone."""
    Image.new("RGB", (640, 360), "teal").save(tmp_path / "frame.png")
    return "frame.png"


# generate ------------------------------------------------------------------------------------------------------------


def test_generate_makes_a_video_and_prints_its_facts(line: CommandLine) -> None:
    done = line.generate()

    assert done.code == 0
    assert done.json["path"] == str(line.video)
    assert done.json["bytes"] == line.video.stat().st_size
    assert not done.json["reused"]
    assert line.sidecar["generation"]["prompt"] == "The clouds drift."
    assert "wan task" in done.err


def test_generate_says_it_in_a_line_to_a_person(line: CommandLine) -> None:
    done = line.run("generate", "-m", "wan2.7-t2v", "-p", "Rain.", "--duration", "2", "-o", str(line.video))

    assert done.out.startswith(f"{line.video}: ")
    assert "2 s" in done.out
    assert "about" in done.err
    assert "nine in ten up to" in done.err


def test_a_second_call_buys_nothing(line: CommandLine) -> None:
    line.generate()
    before = line.video.stat().st_mtime_ns

    done = line.generate()

    assert done.json["reused"]
    assert line.video.stat().st_mtime_ns == before
    assert len(line.bought) == 1


def test_a_picture_may_be_named_by_a_relative_path(
    line: CommandLine, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(line.folder)
    wish = ("-m", "wan2.7-i2v", "-p", "It moves.", "--first-frame", picture, "--duration", "2")

    first = line.run("generate", *wish, "-o", "out.mp4", "--json")
    again = line.run("generate", *wish, "-o", f"{line.folder}/out.mp4", "--json")

    assert (first.code, again.code) == (0, 0)
    assert again.json["reused"]
    assert len(line.bought) == 1


def test_options_become_the_request(dashscope: CommandLine, picture: str) -> None:
    frame = str(dashscope.folder / picture)
    dashscope.run(
        "generate", "-m", "wan3.0-video", "-p", "x", "--media", f"reference_image={frame}", "--resolution", "480P",
        "--duration", "3", "--ratio", "9:16", "--seed", "7", "--no-prompt-extend", "--watermark", "--parameter",
        "audio=false", "-o", str(dashscope.video),
    )  # fmt: skip

    (request,) = dashscope.emulator.requests()
    assert request["body"]["parameters"] == {
        "resolution": "480P", "duration": 3, "ratio": "9:16", "seed": 7, "prompt_extend": False, "watermark": True,
        "audio": False,
    }  # fmt: skip
    assert [item["type"] for item in request["body"]["input"]["media"]] == ["reference_image"]


def test_a_picture_that_nearly_fits_is_adapted_if_told(dashscope: CommandLine) -> None:
    frame = dashscope.folder / "frame.png"
    Image.new("RGBA", (640, 360), (0, 128, 128, 100)).save(frame)
    wish = ("-m", "wan2.7-i2v", "-p", "x", "--duration", "2", "--first-frame", str(frame))
    output = ("-o", str(dashscope.video))

    assert dashscope.run("check", *wish).code == 4
    assert dashscope.run("generate", *wish, *output).code == 4
    assert dashscope.run("check", *wish, "--adapt-media").code == 0
    assert dashscope.run("generate", *wish, *output, "--adapt-media").code == 0
    assert dashscope.run("check", *wish, "--cut-audio").code == 4
    assert len(dashscope.bought) == 1


def test_where_nothing_may_be_bought_a_command_buys_nothing(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WAN__DRY_RUN", "True")

    done = line.generate()

    assert done.code == 5
    assert "dry_run" in done.err
    assert "about" in done.err
    assert line.bought == []


def test_another_wish_at_the_same_output_is_refused(line: CommandLine) -> None:
    line.generate()

    done = line.generate("--seed", "2")

    assert done.code == 7
    assert done.json["error"]["kind"] == "RequestChanged"
    assert "--new" in done.err
    assert len(line.bought) == 1


def test_another_wish_is_bought_if_told(line: CommandLine) -> None:
    line.generate()

    done = line.generate("--seed", "2", "--new")

    assert done.code == 0
    assert len(line.bought) == 2
    assert line.sidecar["generation"]["seed"] == 2
    assert sorted(path.name for path in line.folder.iterdir()) == ["out.mp4", "out.mp4.json"]


def test_a_changed_picture_is_another_wish(dashscope: CommandLine, picture: str) -> None:
    path = dashscope.folder / picture
    wish = ("-m", "wan2.7-i2v", "-p", "x", "--first-frame", str(path), "--duration", "2", "-o", str(dashscope.video))
    dashscope.run("generate", *wish)
    Image.new("RGB", (640, 360), "red").save(path)

    done = dashscope.run("generate", *wish)

    assert done.code == 7
    assert "changed since" in done.err
    assert len(dashscope.bought) == 1


@pytest.mark.parametrize("name", ["out.mp4", "out.mp4.json"])
def test_a_file_of_somebody_else_stays(line: CommandLine, name: str) -> None:
    (line.folder / name).write_text("a diary")

    done = line.generate("--new")

    assert done.code == 6
    assert (line.folder / name).read_text() == "a diary"
    assert line.bought == []


def test_a_video_that_failed_is_bought_again(line: CommandLine) -> None:
    line.emulator.add_fault("create", "task_failed", code="InternalError")

    first, second = line.generate(), line.generate()

    assert (first.code, second.code) == (10, 0)
    assert first.json["error"]["billed"] is False
    assert [row["billed"] for row in line.emulator.ledger()] == [False, True]


def test_a_poster_is_left_if_told(dashscope: CommandLine) -> None:
    assert dashscope.generate("--poster").code == 0

    assert (dashscope.folder / "out.jpg").exists()


@pytest.mark.parametrize("output", ["s3://bucket/out.mp4", "{folder}/new/", "https://files.example/x.mp4"])
def test_the_output_must_be_a_local_file(dashscope: CommandLine, output: str) -> None:
    done = dashscope.run(
        "generate", "-m", "wan2.7-t2v", "-p", "x", "-o", output.format(folder=dashscope.folder), "--json"
    )

    assert done.code == 4
    assert dashscope.bought == []


@pytest.mark.parametrize("option", ["--media", "--parameter"])
def test_an_option_of_pairs_needs_a_name_and_a_value(dashscope: CommandLine, option: str) -> None:
    for text in ("first_frame", "=x", "seed="):
        assert dashscope.generate(option, text).code == 4
    assert dashscope.generate("--parameter", "seed=many").code == 4


def test_a_record_that_cannot_be_read_stops_everything(line: CommandLine) -> None:
    (line.folder / "out.mp4.purchase.json").write_text('{"version": 99}')

    done = line.generate()

    assert done.code == 7
    assert done.json["error"]["kind"] == "LedgerUnreadable"
    assert line.bought == []


# fetch, status, cancel, list -----------------------------------------------------------------------------------------


def test_a_bought_video_is_fetched_to_another_place(line: CommandLine) -> None:
    line.generate()
    copy = line.folder / "copy.mp4"

    done = line.run("fetch", line.bought[0], "-o", str(copy), "--json")

    assert done.code == 0
    assert copy.read_bytes() == line.video.read_bytes()
    assert len(line.bought) == 1


def test_fetching_replaces_no_other_video(line: CommandLine) -> None:
    line.generate()
    line.run("generate", "-m", "wan2.7-t2v", "-p", "Rain.", "--duration", "2", "-o", str(line.folder / "b.mp4"))
    before = line.video.read_bytes()

    done = line.run("fetch", line.bought[1], "-o", str(line.video))

    assert done.code == 6
    assert line.video.read_bytes() == before


def test_fetching_again_finds_the_video_there(line: CommandLine) -> None:
    line.generate()

    done = line.run("fetch", line.bought[0], "-o", str(line.video), "--json")

    assert done.json["reused"]
    assert line.emulator.counts()["download"]["requests"] == 1


def test_fetch_needs_an_id_where_no_record_tells_it(line: CommandLine) -> None:
    assert line.run("fetch", "-o", str(line.video)).code == 6

    line.emulator.add_fault("create", "bad_gateway")
    assert line.generate().code == 8
    assert line.run("fetch", "-o", str(line.video)).code == 6
    assert line.run("fetch", line.bought[0], "-o", str(line.video)).code == 0
    assert line.record == {}


def test_fetch_takes_no_other_task_for_the_one_in_the_record(line: CommandLine) -> None:
    line.emulator.add_fault("poll", "unknown_status", times=None, word="DREAMING")
    line.generate("--timeout", "1")

    assert line.record["state"] == "submitted"
    assert line.run("fetch", "another-id", "-o", str(line.video)).code == 6


@pytest.mark.parametrize("by_id", [True, False])
def test_status_tells_how_a_task_is(line: CommandLine, by_id: bool) -> None:
    line.generate()
    which = [line.bought[0]] if by_id else ["-o", str(line.video)]

    told, shown = line.run("status", *which, "--json"), line.run("status", *which)

    assert told.json["status"] == "succeeded"
    assert "video_url" not in told.out
    assert "Signature" not in told.out
    assert shown.out.startswith(f"Wan task {line.bought[0]}: succeeded")


def test_status_of_a_task_that_nobody_knows(line: CommandLine) -> None:
    assert line.run("status", "00000000-0000-4000-8000-000000000001").code in (0, 11)
    assert line.run("status").code == 4
    assert line.run("status", "-o", str(line.video)).code == 4


@pytest.mark.stays_queued
def test_a_queued_task_is_canceled_where_the_gateway_can(dashscope: CommandLine) -> None:
    process = dashscope.start_generate()
    wait_until(lambda: dashscope.record.get("state") == "submitted", process)
    process.kill()

    done = dashscope.run("cancel", "-o", str(dashscope.video), "--json")

    assert done.json == {"wan_task_id": dashscope.bought[0], "status": "canceled"}
    assert dashscope.record == {}
    assert [row["billed"] for row in dashscope.emulator.ledger()] == [False]


def test_apiyi_cannot_cancel(apiyi: CommandLine) -> None:
    apiyi.generate()

    done = apiyi.run("cancel", apiyi.bought[0], "--json")

    assert done.code == 1
    assert done.json["error"]["billed"] is True


def test_list_joins_the_account_with_the_folder(dashscope: CommandLine) -> None:
    dashscope.generate()
    order = Order(request={"model": "wan2.7-i2v", "input": {"prompt": "Rain."}, "parameters": {}})
    lost = Intent("f", 1_790_000_000.0, "x", "dashscope", dashscope.emulator.base_url, order)
    (dashscope.folder / "lost.mp4.purchase.json").write_text(json.dumps(lost.to_record()))
    (dashscope.folder / "broken.mp4.purchase.json").write_text("{")

    done, shown = dashscope.run("list", str(dashscope.folder), "--json"), dashscope.run("list", str(dashscope.folder))

    here = {Path(row["output"]).name: (row["wan_task_id"], row["status"], row["here"]) for row in done.json}
    assert here == {
        "out.mp4": (dashscope.bought[0], "succeeded", "fetched"),
        "lost.mp4": (None, None, "perhaps bought"),
    }
    assert "broken.mp4" in done.err
    assert dashscope.bought[0] in shown.out


def test_list_shows_the_folder_where_the_gateway_has_no_list(apiyi: CommandLine) -> None:
    apiyi.generate()

    done = apiyi.run("list", str(apiyi.folder), "--json")

    assert [row["wan_task_id"] for row in done.json] == apiyi.bought
    assert "lists no tasks" in done.err


# estimate, check, models ---------------------------------------------------------------------------------------------


def test_list_takes_no_folder_that_is_not_there(line: CommandLine) -> None:
    assert line.run("list", str(line.folder / "nowhere")).code == 2


def test_list_shows_those_of_a_model(line: CommandLine) -> None:
    line.generate()

    assert len(line.run("list", str(line.folder), "--model", "wan2.7-t2v", "--json").json) == 1
    assert line.run("list", str(line.folder), "--model", "wan2.7-i2v", "--json").json == []


def test_estimate_needs_no_key_and_sends_nothing(dashscope: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAN_API_KEY")
    wish = ("-m", "wan2.7-t2v", "-p", "x", "--duration", "10", "--resolution", "1080P", "--gateway", "dashscope")

    done, shown = dashscope.run("estimate", *wish, "--json"), dashscope.run("estimate", *wish)

    assert done.json["estimated_usd"] == 1.5
    assert "1.50 USD" in shown.out
    assert calls(dashscope) == 0


def test_check_holds_request_and_media_to_the_limits(line: CommandLine, picture: str) -> None:
    Image.new("RGB", (32, 32)).save(line.folder / "small.png")
    wish = ("-m", "wan2.7-i2v", "-p", "x", "--first-frame")

    good = line.run("check", *wish, str(line.folder / picture), "--json")
    bad = line.run("check", *wish, str(line.folder / "small.png"), "--duration", "5", "--json")
    worse = line.run("check", "-m", "wan2.7-i2v", "-p", "x", "--duration", "500", "--json")

    assert good.json["sources"][0]["role"] == "first_frame"
    assert (bad.code, worse.code) == (4, 4)
    assert "32x32 px" in bad.err
    assert "duration" in worse.err
    assert calls(line) == 0


def test_models_lists_the_catalogue(dashscope: CommandLine) -> None:
    done, shown = dashscope.run("models", "--json"), dashscope.run("models", "--gateway", "apiyi")

    assert {row["model"] for row in done.json} == set(known_model_ids())
    (row,) = (row for row in done.json if (row["model"], row["gateway"]) == ("wan2.7-i2v", "dashscope"))
    assert row["usd_per_second"] == {"720P": 0.1, "1080P": 0.15}
    assert row["media"]["first_frame"] == "0 to 1 first_frame"
    assert re.search(r"^wan2\.7-i2v +apiyi +prompt, first_frame", shown.out, re.MULTILINE)
    assert "dashscope" not in shown.out
    assert dashscope.run("models", "--gateway", "openai").code == 4


# the command line itself ---------------------------------------------------------------------------------------------


def test_help_names_each_command(dashscope: CommandLine) -> None:
    done = dashscope.run("--help")

    assert {name for name in COMMANDS if re.search(rf"^\W*{name} ", done.out, re.MULTILINE)} == COMMANDS


def test_a_wrong_option_is_a_wrong_command_line(dashscope: CommandLine) -> None:
    assert dashscope.run("generate", "--prompt", "x").code == 2
    assert dashscope.run("generate", "--api-key", "sk-x").code == 2


def test_json_is_all_that_is_on_stdout(dashscope: CommandLine) -> None:
    done = dashscope.generate("--verbose")

    assert next(iter(done.json)) == "path"
    assert "Submitting" in done.err


# doctor --------------------------------------------------------------------------------------------------------------


def test_the_doctor_tells_what_is_found(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    good, shown = line.run("doctor", "--json"), line.run("doctor")
    monkeypatch.setenv("WAN_API_KEY", "no-key-of-theirs")
    bad = line.run("doctor", "--json")
    unknown = line.run("doctor", "--conn-id", "no_such_connection", "--json")

    assert (good.code, good.json["good"]) == (0, True)
    assert "good" in shown.out
    assert (bad.code, bad.json["findings"][0]["kind"]) == (3, "wrong_key")
    assert bad.json["findings"][0]["advice"]
    assert (unknown.code, unknown.json["findings"][0]["kind"]) == (3, "not_defined")
    assert line.bought == []
