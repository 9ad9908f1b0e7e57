"""What becomes of a video that came home: handed on again, compared, kept beside, recorded."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import av
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from PIL import Image
from task_runner import out_of_time

from airflow_wan.exceptions import VideoRejected
from airflow_wan.sensors.wan import WanVideoSensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_wan.emulator.testing import MediaServer


EACH_GATEWAY = pytest.mark.parametrize("gateway", ["apiyi", "dashscope"], indirect=True)


@pytest.fixture
def gateway(request: pytest.FixtureRequest, connect_to: Callable[[str], Any]) -> Any:
    """Of one name, except where the gateway makes a difference: what becomes of a file does not depend on it."""
    return connect_to(getattr(request, "param", "apiyi"))


def submitted(gateway: Any) -> int:
    return len(gateway.emulator.ledger())


def forget_the_files(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


# The same request again ----------------------------------------------------------------------------------------------


def test_the_same_request_at_the_same_path_is_not_bought_again(
    film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    first = runner.run(film())
    video = runner.instance.xcoms["wan_video"]
    again = runner.run(film())

    assert again == first
    assert submitted(gateway) == 1
    assert video["spent_usd"] == video["video_cost_usd"] > 0
    assert runner.instance.xcoms["wan_video"] == video | {"reused": True, "spent_usd": 0.0}
    assert runner.instance.xcoms["wan_task_id"] == video["wan_task_id"]
    assert runner.store.rows == {}


@pytest.mark.parametrize(
    "difference",
    [
        {"prompt": "Snow falls."},
        {"duration": 3},
        {"resolution": "1080P"},
        {"seed": 1},
        {"reuse": False},
        {"sidecar": False},
    ],
    ids=str,
)
def test_another_request_or_a_wish_for_a_new_take_is_bought(
    difference: dict[str, Any], film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    runner.run(film())
    runner.run(film(**difference))

    assert submitted(gateway) == 2


def test_the_same_request_at_another_path_is_bought(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    runner.run(film())
    runner.run(film(output_path=str(tmp_path / "other.mp4")))

    assert submitted(gateway) == 2


def test_a_video_that_is_gone_is_bought_again(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    runner.run(film())
    (tmp_path / "film.mp4").unlink()

    runner.run(film())

    assert submitted(gateway) == 2
    assert (tmp_path / "film.mp4").exists()


@pytest.mark.parametrize("damage", ["cut", "changed", "record gone", "record broken"])
def test_a_file_that_is_not_the_recorded_one_is_neither_handed_on_nor_replaced(
    damage: str, film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    runner.run(film())
    video, record = tmp_path / "film.mp4", tmp_path / "film.mp4.json"
    content = video.read_bytes()
    if damage == "cut":
        video.write_bytes(content[:-1])
    elif damage == "changed":
        video.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "record gone":
        record.unlink()
    else:
        record.write_text("{")
    content = video.read_bytes()

    for _ in range(2):
        with pytest.raises(AirflowFailException, match=r"not known to have made.*Nothing was sent"):
            runner.run(film())

    assert submitted(gateway) == 1
    assert video.read_bytes() == content

    video.unlink()
    record.unlink(missing_ok=True)
    runner.run(film())
    assert submitted(gateway) == 2


def test_a_url_signed_anew_is_the_same_request(
    film: Callable[..., Any], gateway: Any, runner: Any, media: MediaServer
) -> None:
    runner.run(film(first_frame=media.url("frame.png?X-Amz-Signature=1")))
    runner.run(film(first_frame=media.url("frame.png?X-Amz-Signature=2")))

    assert submitted(gateway) == 1


def test_a_worker_killed_after_publishing_hands_on_what_is_there_without_asking_the_gateway(
    film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    first = runner.run(film(), killed_before_success=True)
    gateway.emulator.advance_clock(48 * 3600)  # neither the task nor its link are known any more

    assert runner.run(film()) == first
    assert submitted(gateway) == 1
    assert runner.store.rows == {}


def test_a_new_take_killed_after_publishing_is_that_take(film: Callable[..., Any], gateway: Any, runner: Any) -> None:
    runner.run(film())
    runner.run(film(reuse=False), killed_before_success=True)
    runner.run(film(reuse=False))

    assert submitted(gateway) == 2


def test_what_an_earlier_try_bought_goes_before_an_older_file(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    runner.run(film())
    with out_of_time(gateway.emulator):
        runner.run(film(reuse=False, timeout=0.01))
    runner.run(film())

    assert submitted(gateway) == 2
    assert runner.instance.xcoms["wan_task_id"] == gateway.emulator.ledger()[1]["task_id"]


# The record ----------------------------------------------------------------------------------------------------------


@EACH_GATEWAY
def test_the_record_tells_how_the_video_came_about(
    film: Callable[..., Any], gateway: Any, runner: Any, media: MediaServer, tmp_path: Path
) -> None:
    runner.run(film(first_frame=media.url("frame.png?Signature=TOPSECRET"), seed=7))

    text = (tmp_path / "film.mp4.json").read_text()
    record = json.loads(text)
    (bill,) = gateway.emulator.ledger()
    assert record["video"] == {
        "name": "film.mp4",
        "bytes": (tmp_path / "film.mp4").stat().st_size,
        "sha256": runner.instance.xcoms["wan_video"]["sha256"],
    }
    assert record["inspection"]["decoded"] is True
    assert record["request"]["input"]["media"] == [{"type": "first_frame", "url": media.url("frame.png")}]
    assert record["request"]["parameters"] == {"resolution": "720P", "duration": 2, "seed": 7}
    assert (record["generation"]["model"], record["generation"]["seed"]) == ("wan2.7-i2v", 7)
    assert record["generation"]["prompt"] == "The clouds drift."
    assert record["gateway"]["wan_task_id"] == bill["task_id"]
    assert record["gateway"]["name"] == gateway.name
    assert {"intent", "submitted", "seen_succeeded", "downloaded", "published"} <= record["times"].keys()
    moments = [datetime.fromisoformat(moment) for moment in record["times"].values()]
    assert moments == sorted(moments)
    assert record["attempts"] == {"airflow_try": 1, "downloads": 1}
    assert record["cost"]["estimated"] == (0.168 if gateway.name == "apiyi" else 0.2)
    assert record["cost"]["settled"] == (None if gateway.name == "apiyi" else 0.2)
    assert record["airflow"]["task_id"] == "animate"
    for secret in ("TOPSECRET", "sk-", "Signature", "OSSAccessKeyId"):
        assert secret not in text


def test_no_record_is_left_where_none_is_wanted(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    runner.run(film(sidecar=False))

    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_sensor_leaves_a_record_of_what_it_knows(gateway: Any, runner: Any, film: Any, tmp_path: Path) -> None:
    runner.run(film())
    forget_the_files(tmp_path)
    wait = WanVideoSensor(
        task_id="wait",
        wan_task_id=gateway.emulator.ledger()[0]["task_id"],
        output_path=str(tmp_path / "film.mp4"),
        poke_interval=0.05,
    )

    runner.run(wait)

    record = json.loads((tmp_path / "film.mp4.json").read_text())
    assert record["request"] is None
    assert record["fingerprint"] is None
    assert record["video"]["sha256"] == runner.instance.xcoms["wan_video"]["sha256"]


# Acceptance ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def another_length_is_ordered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger says 7 s where the gateway was asked for 2, so that it delivers what was not ordered."""
    from airflow_wan.api.requests import VideoRequest

    monkeypatch.setattr(VideoRequest, "seconds", property(lambda _: 7))


@pytest.mark.usefixtures("another_length_is_ordered")
def test_a_video_that_is_not_what_was_ordered_is_kept_beside_and_only_downloaded_again(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(VideoRejected, match="2 s long; 7 s were requested") as raised:
            runner.run(film())

    assert submitted(gateway) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["film.rejected.mp4"]
    assert str(tmp_path / "film.rejected.mp4") in str(raised.value)
    assert "paid for" in str(raised.value)
    assert runner.store.record


@pytest.mark.usefixtures("another_length_is_ordered")
@pytest.mark.parametrize(("acceptance", "named"), [("warn", 1), ("off", 0)])
def test_a_video_that_was_rejected_comes_home_once_differences_do_not_matter(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    tmp_path: Path,
    acceptance: str,
    named: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(VideoRejected):
        runner.run(film())

    assert runner.run(film(acceptance=acceptance)) == str(tmp_path / "film.mp4")

    record = json.loads((tmp_path / "film.mp4.json").read_text())
    said = [text for text in caplog.messages if "accepted all the same" in text]
    assert len(record["inspection"]["shortcomings"]) == len(said) == named
    assert all("7 s were requested" in text for text in (*said, *record["inspection"]["shortcomings"]))
    assert submitted(gateway) == 1


def test_a_file_that_is_no_video_at_all_is_kept_beside(
    film: Callable[..., Any], gateway: Any, runner: Any, no_pauses: None, tmp_path: Path, monkeypatch: Any
) -> None:
    from airflow_wan.exceptions import NotAVideoError
    from airflow_wan.videos import delivery

    def no_video(_path: Path) -> Any:
        raise NotAVideoError("The file is not a complete mp4: it has no moov box.")

    with monkeypatch.context() as broken:
        broken.setattr(delivery, "inspect_video", no_video)
        with pytest.raises(VideoRejected, match="no moov box"):
            runner.run(film())
    assert [path.name for path in tmp_path.iterdir()] == ["film.rejected.mp4"]

    runner.run(film())

    assert submitted(gateway) == 1
    assert (tmp_path / "film.mp4").exists()


# The poster ----------------------------------------------------------------------------------------------------------


def test_a_poster_is_the_first_frame(film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path) -> None:
    runner.run(film(poster=True))

    assert runner.instance.xcoms["wan_video"]["poster"] == str(tmp_path / "film.jpg")
    with Image.open(tmp_path / "film.jpg") as poster, av.open(str(tmp_path / "film.mp4")) as container:
        assert poster.format == "JPEG"
        assert poster.size == (container.streams.video[0].width, container.streams.video[0].height)


def test_a_video_that_is_there_gets_the_poster_it_lacks(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    runner.run(film())
    assert not (tmp_path / "film.jpg").exists()

    runner.run(film(poster=True))

    assert submitted(gateway) == 1
    assert runner.instance.xcoms["wan_video"]["reused"]
    assert runner.instance.xcoms["wan_video"]["poster"] == str(tmp_path / "film.jpg")
    with Image.open(tmp_path / "film.jpg") as poster:
        assert poster.format == "JPEG"


def test_a_poster_that_cannot_be_made_is_told_before_anything_is_bought(
    film: Callable[..., Any], gateway: Any, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)

    with pytest.raises(AirflowFailException, match=r"airflow-provider-wan\[inspection\]"):
        runner.run(film(poster=True))

    assert gateway.emulator.requests() == []


# Money ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_cost", [0.1, "0.1", 0])
def test_what_costs_more_than_the_task_may_spend_is_not_sent(
    max_cost: Any, film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    with pytest.raises(AirflowFailException, match="the task may spend"):
        runner.run(film(max_cost=max_cost))

    assert gateway.emulator.requests() == []
    assert runner.store.rows == {}


def test_what_nobody_knows_the_price_of_is_not_sent_where_there_is_a_limit(
    film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    with pytest.raises(AirflowFailException, match="is not known"):
        runner.run(film(model="wan9-i2v", max_cost=100))

    assert gateway.emulator.requests() == []


def test_a_limit_that_is_no_amount_is_refused(film: Callable[..., Any], gateway: Any, runner: Any) -> None:
    with pytest.raises(AirflowFailException, match="max_cost must be a non-negative number of USD, got 'a dollar'"):
        runner.run(film(max_cost="a dollar"))

    assert gateway.emulator.requests() == []


@EACH_GATEWAY
def test_estimate_and_bill_are_handed_on(film: Callable[..., Any], gateway: Any, runner: Any) -> None:
    runner.run(film(max_cost="1.5"))

    video = runner.instance.xcoms["wan_video"]
    expected = {"apiyi": (0.168, None), "dashscope": (0.2, 0.2)}
    assert (video["estimated_cost_usd"], video["settled_cost_usd"]) == expected[gateway.name]


def test_a_limit_does_not_keep_back_what_is_bought_already(film: Callable[..., Any], gateway: Any, runner: Any) -> None:
    with out_of_time(gateway.emulator):
        runner.run(film(timeout=0.01))
    runner.run(film(max_cost=0))

    assert submitted(gateway) == 1
