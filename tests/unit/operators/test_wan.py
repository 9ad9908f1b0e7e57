"""What the operators do over their tries: one create a wish, the file at its place, the record kept and forgotten."""

from __future__ import annotations

import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from task_runner import out_of_time

from airflow_wan.exceptions import (
    DestinationError,
    LedgerUnreadable,
    TransferFailed,
    VideoDownloadFailed,
    VideoTaskFailed,
    VideoTaskLost,
    VideoWaitTimeout,
    WanConnectionError,
    WanError,
)
from airflow_wan.operators.wan import WanGenerateVideoOperator, WanImageToVideoOperator, WanSubmitVideoOperator
from airflow_wan.videos.job import VideoJob

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace

    from airflow_wan.emulator.testing import MediaServer


def submitted(gateway: SimpleNamespace) -> int:
    return len(gateway.emulator.ledger())


@pytest.mark.takes_time
@pytest.mark.parametrize("deferrable", [True, False])
def test_a_video_is_bought_once_and_lands_at_its_path(
    deferrable: bool, film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    path = runner.run(film(deferrable=deferrable, seed="7"))

    assert path == str(tmp_path / "film.mp4")
    assert [row["billed"] for row in gateway.emulator.ledger()] == [True]
    video = runner.instance.xcoms["wan_video"]
    assert video["bytes"] == Path(path).stat().st_size
    assert (video["model"], video["seed"], video["duration_s"], video["has_audio"]) == ("wan2.7-i2v", 7, 2.0, True)
    assert runner.instance.xcoms["wan_task_id"] == video["wan_task_id"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "film.mp4.json"]


@pytest.mark.parametrize(("fault", "usd"), [(None, 0.168), ({"on": "list", "kind": "server_error"}, None)])
def test_what_apiyi_charged_is_told_where_a_system_token_opens_its_list(
    fault: Any, usd: float | None, film: Callable[..., Any], connect_to: Any, runner: Any, connect: Callable[..., None]
) -> None:
    emulator = connect_to("apiyi").emulator
    connect(emulator.base_url, gateway="apiyi", system_token="owner-token-0123456789")
    if fault is not None:
        emulator.add_fault(**fault)

    runner.run(film())

    assert runner.instance.xcoms["wan_video"]["settled_cost_usd"] == usd
    assert "owner-token" not in repr((runner.trigger_kwargs, runner.events, runner.instance.xcoms))


@pytest.mark.takes_time
def test_nothing_secret_is_in_trigger_arguments_events_and_xcom(
    film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    runner.run(film())

    said = repr((runner.trigger_kwargs, runner.events, runner.instance.xcoms))
    assert "sk-" not in said
    assert "Signature" not in said
    assert "result" not in said


def test_the_record_of_the_purchase_is_forgotten_once_airflow_knows_of_the_success(
    film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    runner.run(film())

    assert runner.store.rows == {}


def test_a_worker_killed_after_the_download_does_not_buy_again(
    film: Callable[..., Any], gateway: Any, runner: Any, tmp_path: Path
) -> None:
    runner.run(film(), killed_before_success=True)
    path = runner.run(film())

    assert submitted(gateway) == 1
    assert path == str(tmp_path / "film.mp4")


def test_a_timeout_is_waited_out_by_the_retry_with_a_fresh_budget(
    film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    with out_of_time(gateway.emulator) as raised:
        runner.run(film(timeout=0.01))
    runner.run(film())

    assert submitted(gateway) == 1
    assert raised.value.wan_task_id == gateway.emulator.ledger()[0]["task_id"]


@pytest.mark.parametrize("without_end", [float("inf"), 1e15, timedelta.max])
@pytest.mark.parametrize("name", ["timeout", "queue_timeout"])
def test_a_time_without_end_brings_the_video_home_too(
    name: str, without_end: Any, film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    gateway.emulator.add_fault("poll", "unknown_status", word="RUNNING", times=1)  # so that the task defers

    assert Path(runner.run(film(**{name: without_end}))).exists()

    (kwargs,) = runner.trigger_kwargs
    assert all(datetime.fromtimestamp(kwargs[moment], UTC) for moment in ("deadline", "queue_deadline", "latest"))


def test_a_failed_download_is_followed_by_a_download_only(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    no_pauses: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from airflow_wan.videos import delivery

    def cut_connection(*_: Any, **__: Any) -> None:
        raise TransferFailed("The connection to the file host failed (ReadError).")

    with monkeypatch.context() as broken:
        broken.setattr(delivery, "download", cut_connection)
        with pytest.raises(VideoDownloadFailed):
            runner.run(film())
        assert list(tmp_path.iterdir()) == []
    runner.run(film())

    assert submitted(gateway) == 1
    assert (tmp_path / "film.mp4").exists()


def test_a_failed_task_ends_the_try_and_the_next_one_may_buy(
    film: Callable[..., Any], gateway: Any, runner: Any, media: MediaServer
) -> None:
    with pytest.raises(Exception, match="ended failed") as raised:
        runner.run(film(first_frame=media.url("missing.png")))
    runner.run(film())

    assert [row["billed"] for row in gateway.emulator.ledger()] == [False, True]
    assert gateway.emulator.ledger()[0]["task_id"] in str(raised.value)


def test_a_ledger_that_cannot_be_read_sends_nothing(
    film: Callable[..., Any], gateway: Any, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any) -> None:
        raise RuntimeError("API_SERVER_ERROR")

    monkeypatch.setattr(runner.store, "get", unreachable)
    with pytest.raises(LedgerUnreadable):
        runner.run(film())

    assert gateway.emulator.requests() == []


def test_a_ledger_that_cannot_be_written_sends_nothing(
    film: Callable[..., Any], gateway: Any, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise RuntimeError("API_SERVER_ERROR")

    monkeypatch.setattr(runner.store, "set", unreachable)
    with pytest.raises(LedgerUnreadable):
        runner.run(film())

    assert gateway.emulator.requests() == []


def test_an_id_that_cannot_be_written_down_is_waited_for_all_the_same(
    film: Callable[..., Any], gateway: Any, runner: Any, no_pauses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = runner.store.set

    def only_intents(key: str, value: Any, **options: Any) -> None:
        if value["state"] == "submitted":
            raise RuntimeError("API_SERVER_ERROR")
        put(key, value, **options)

    monkeypatch.setattr(runner.store, "set", only_intents)
    path = runner.run(film())

    assert Path(path).exists()
    assert submitted(gateway) == 1


def test_an_invalid_request_sends_nothing_and_is_not_retried(
    film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    with pytest.raises(AirflowFailException, match="duration"):
        runner.run(film(duration="ten"))

    assert gateway.emulator.requests() == []
    assert runner.store.rows == {}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"first_frame": "/tmp/\0.png"}, "NUL character"),
        ({"first_frame": "file:///tmp/%00.png"}, "NUL character"),
        ({"parameters": "{}"}, "parameters must be a dict"),
        ({"media": "https://your-cdn.com/rap.png"}, "media must be a list"),
        ({"extra_body": {"model": 7}}, "model must be a model id"),
        ({"model": "wan9-t2v", "first_frame": None, "parameters": {"duration": 10**15}}, "could not be written down"),
    ],
)
def test_whatever_a_template_makes_of_an_argument_is_refused_in_words(
    arguments: dict[str, Any], problem: str, film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    if "model" in arguments:
        arguments = {"duration": None, **arguments}
    with pytest.raises(AirflowFailException, match=problem):
        runner.run(film(**arguments))

    assert submitted(gateway) == 0
    assert runner.store.rows == {}


@pytest.mark.parametrize("conn_id", [None, 5, ""])
def test_what_is_no_connection_id_is_refused_in_words(conn_id: Any, film: Callable[..., Any], runner: Any) -> None:
    with pytest.raises(WanConnectionError, match="wan_conn_id must be the id of an Airflow connection"):
        runner.run(film(wan_conn_id=conn_id))


@pytest.mark.parametrize("nothing", [None, "None", ""])
def test_media_and_parameters_that_a_template_renders_to_nothing_count_as_not_given(
    nothing: Any, film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    assert Path(runner.run(film(media=nothing, parameters=nothing, extra_body=nothing))).exists()


def test_a_destination_that_cannot_be_written_to_stops_before_the_submit(
    film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    with pytest.raises(Exception, match="cannot be written"):
        runner.run(film(output_path="/proc/nowhere/film.mp4"))

    assert gateway.emulator.requests() == []


@pytest.mark.parametrize("preflight", [True, False])
@pytest.mark.parametrize("url", ["/etc/passwd", "file:///etc/passwd", "/dev/zero", "/proc/self/environ"])
def test_a_file_that_is_no_media_is_not_sent_and_no_video_is_bought_for_it(
    film: Callable[..., Any], gateway: Any, runner: Any, url: str, preflight: bool
) -> None:
    with pytest.raises(AirflowFailException, match=r"first_frame: .*Nothing was sent"):
        runner.run(film(first_frame=url, preflight=preflight))

    assert gateway.emulator.requests() == []
    assert submitted(gateway) == 0


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("path", ["../../film.mp4", "a/%2e%2e/film.mp4", "a\0b.mp4", "/dev/null", "x" * 250 + ".mp4"])
def test_a_path_that_can_never_work_is_found_before_anything_is_sent(
    path: str, deferrable: bool, film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    with pytest.raises((AirflowFailException, DestinationError)):
        runner.run(film(output_path=path, deferrable=deferrable))

    assert gateway.emulator.requests() == []


def test_a_changed_request_is_not_bought_by_a_retry(film: Callable[..., Any], gateway: Any, runner: Any) -> None:
    with out_of_time(gateway.emulator):
        runner.run(film(timeout=0.01))
    with pytest.raises(AirflowFailException, match="on_changed_request='resubmit'"):
        runner.run(film(prompt="Snow falls."))

    assert submitted(gateway) == 1


def test_a_changed_request_is_bought_where_the_author_says_so(
    film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    with out_of_time(gateway.emulator):
        runner.run(film(timeout=0.01))
    runner.run(film(prompt="Snow falls.", on_changed_request="resubmit"))

    assert submitted(gateway) == 2


def test_a_url_signed_anew_is_no_changed_request(
    film: Callable[..., Any], gateway: Any, runner: Any, media: MediaServer
) -> None:
    with out_of_time(gateway.emulator):
        runner.run(film(timeout=0.01, first_frame=media.url("frame.png?X-Amz-Signature=1&v=2")))
    runner.run(film(first_frame=media.url("frame.png?v=2&X-Amz-Signature=2")))

    assert submitted(gateway) == 1


def test_a_connection_that_moved_sends_its_key_nowhere_and_the_video_lands_once_it_is_set_back(
    film: Callable[..., Any], gateway: Any, runner: Any, connect: Callable[..., None]
) -> None:
    with out_of_time(gateway.emulator):
        runner.run(film(timeout=0.01))
    connect("http://127.0.0.1:9", gateway=gateway.name)  # nobody listens there

    with pytest.raises(WanConnectionError, match="may be billed"):
        runner.run(film())
    connect(gateway.emulator.base_url, gateway=gateway.name)
    path = runner.run(film())

    assert Path(path).exists()
    assert submitted(gateway) == 1


@pytest.mark.parametrize("forged", [{"base_url": "http://127.0.0.1:{port}"}, {"wan_conn_id": "aws_prod"}], ids=str)
def test_a_forged_record_sends_no_key_to_a_stranger(
    forged: dict[str, str],
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    connect: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_AWS_PROD",
        json.dumps({"conn_type": "aws", "password": "aws-secret-0123456789", "host": gateway.emulator.base_url}),
    )
    with out_of_time(gateway.emulator):
        runner.run(film(timeout=0.01))
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        stranger.settimeout(0)
        port = stranger.getsockname()[1]
        forgery = {name: value.format(port=port) for name, value in forged.items()}
        runner.store.replace_record(runner.store.record | forgery)

        with pytest.raises(WanConnectionError) as raised:
            runner.run(film())

        with pytest.raises(BlockingIOError):  # nobody connected
            stranger.accept()
    assert "aws-secret" not in str(raised.value)
    assert submitted(gateway) == 1


@pytest.mark.takes_time
def test_a_triggerer_without_the_connection_hands_the_wait_back_to_a_worker_in_the_same_try(
    film: Callable[..., Any], gateway: Any, runner: Any, without_connection_in_the_triggerer: None, caplog: Any
) -> None:
    path = runner.run(film(deferrable=True))

    assert runner.events[0]["error"]["kind"] == "WanConnectionError"
    assert Path(path).exists()
    assert submitted(gateway) == 1
    assert runner.instance.try_number == 1
    assert "The triggerer cannot use the Airflow connection of wan task" in caplog.text


@pytest.mark.stays_queued
def test_a_kill_while_a_worker_waits_instead_of_the_triggerer_cancels_the_wan_task(
    film: Callable[..., Any],
    gateway: Any,
    runner: Any,
    without_connection_in_the_triggerer: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if gateway.name != "dashscope":
        pytest.skip("only DashScope can cancel")
    waiting: list[Any] = []
    monkeypatch.setattr("airflow_wan.videos.job.time.sleep", lambda _: waiting[0].on_kill())
    resume = WanGenerateVideoOperator.execute_complete
    monkeypatch.setattr(
        WanGenerateVideoOperator,
        "execute_complete",
        lambda self, context, event: waiting.append(self) or resume(self, context, event),  # type: ignore[func-returns-value]
    )

    with pytest.raises(VideoTaskFailed, match="canceled"):
        runner.run(film(deferrable=True))


@pytest.mark.takes_time
def test_a_worker_that_lacks_the_connection_too_says_so_and_a_retry_brings_the_video_home(
    film: Callable[..., Any], gateway: Any, runner: Any, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.before_firing = lambda: monkeypatch.delenv("AIRFLOW_CONN_WAN_DEFAULT")
    with pytest.raises(WanError, match="is not defined") as raised:
        runner.run(film(deferrable=True))
    connect(gateway.emulator.base_url, gateway=gateway.name)
    runner.before_firing = lambda: None

    runner.run(film(deferrable=True))

    assert raised.value.wan_task_id == gateway.emulator.ledger()[0]["task_id"]
    assert raised.value.retry_can_help
    assert raised.value.billed is not False
    assert submitted(gateway) == 1


def test_a_task_that_the_gateway_no_longer_knows_stops_with_its_id(
    film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    with out_of_time(gateway.emulator):
        runner.run(film(timeout=0.01))
    gateway.emulator.advance_clock(25 * 3600)
    with pytest.raises(VideoWaitTimeout):  # by our own clock, the gateway must still keep it: it is asked for
        runner.run(film(timeout=0.01))
    age_the_record(runner, 25 * 3600)
    with pytest.raises(AirflowFailException, match=gateway.emulator.ledger()[0]["task_id"]) as raised:
        runner.run(film())

    assert isinstance(raised.value, VideoTaskLost)
    assert submitted(gateway) == 1


def age_the_record(runner: Any, seconds: float) -> None:
    record = runner.store.record
    runner.store.replace_record(record | {"submitted_at": record["submitted_at"] - seconds})


def test_an_intent_without_an_id_is_not_sent_again(film: Callable[..., Any], gateway: Any, runner: Any) -> None:
    leave_an_intent(film, gateway, runner)
    with pytest.raises(AirflowFailException, match="may be in the making") as raised:
        runner.run(film())

    assert submitted(gateway) == 0
    assert "on_ambiguous_submit='resubmit'" in str(raised.value)
    assert "The clouds drift." in str(raised.value)


def test_an_intent_without_an_id_is_sent_again_where_the_author_says_so(
    film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    leave_an_intent(film, gateway, runner)
    runner.run(film(on_ambiguous_submit="resubmit"))

    assert submitted(gateway) == 1


def test_an_intent_at_another_gateway_is_a_question_for_a_person(
    film: Callable[..., Any], gateway: Any, runner: Any, connect: Callable[..., None]
) -> None:
    leave_an_intent(film, gateway, runner)
    connect(gateway.emulator.base_url, gateway="dashscope" if gateway.name == "apiyi" else "apiyi")
    with pytest.raises(AirflowFailException, match="may be in the making"):
        runner.run(film())
    assert submitted(gateway) == 0

    runner.run(film(on_ambiguous_submit="resubmit"))
    assert submitted(gateway) == 1


def leave_an_intent(film: Callable[..., Any], gateway: Any, runner: Any) -> None:
    """Leave the ledger as a worker does that is killed right after it wrote its intent down."""

    class Killed(BaseException):
        pass

    put = runner.store.set

    def die_afterwards(key: str, value: Any, **options: Any) -> None:
        put(key, value, **options)
        raise Killed

    runner.store.set = die_afterwards
    with pytest.raises(Killed):
        runner.run(film())
    runner.store.set = put
    assert runner.store.record["state"] == "intent"


def test_the_submit_operator_returns_the_same_id_on_a_retry(gateway: Any, runner: Any, media: MediaServer) -> None:
    task = WanSubmitVideoOperator(
        task_id="submit",
        model="wan2.7-i2v",
        prompt="The clouds drift.",
        media=[{"type": "first_frame", "url": media.url("frame.png")}],
        parameters={"duration": "2"},
    )
    first = runner.run(task, killed_before_success=True)
    again = runner.run(task)

    assert first == again
    assert submitted(gateway) == 1


@pytest.mark.stays_queued
@pytest.mark.parametrize("gateway", ["dashscope"], indirect=True)
def test_a_killed_worker_cancels_a_queued_task_where_it_was_submitted(
    film: Callable[..., Any], gateway: Any, runner: Any, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminated(BaseException):
        pass

    task = film(deferrable=False)

    def terminate(job: Any, *_: Any, **__: Any) -> None:
        connect("http://127.0.0.1:9", gateway="dashscope")  # nobody listens there
        job.task.on_kill()
        raise Terminated

    monkeypatch.setattr(VideoJob, "wait", terminate)
    with pytest.raises(Terminated):
        runner.run(task)

    assert gateway.emulator.ledger()[0]["status"] == "CANCELED"


@pytest.mark.stays_queued
@pytest.mark.parametrize("gateway", ["dashscope"], indirect=True)
@pytest.mark.parametrize("deferrable", [True, False])
def test_a_kill_while_the_create_request_is_under_way_cancels_what_it_has_made(
    deferrable: bool, film: Callable[..., Any], gateway: Any, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    buying: list[Any] = []
    buy_once = WanGenerateVideoOperator.buy_once
    monkeypatch.setattr(
        WanGenerateVideoOperator,
        "buy_once",
        lambda self, *args: buying.append(self) or buy_once(self, *args),  # type: ignore[func-returns-value]
    )
    gateway.emulator.add_fault("create", "hold")

    def kill() -> None:
        until = time.monotonic() + 60
        while not gateway.emulator.faults()[0]["holding"] and time.monotonic() < until:
            time.sleep(0.01)
        buying[0].on_kill()
        gateway.emulator.clear_faults()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(VideoTaskFailed, match="canceled"):
        runner.run(film(deferrable=deferrable))
    killer.join()

    assert [row["status"] for row in gateway.emulator.ledger()] == ["CANCELED"]


def test_media_and_parameters_by_argument_come_before_those_by_dict() -> None:
    task = WanImageToVideoOperator(
        task_id="animate",
        prompt="x",
        first_frame="https://cdn.example.com/a.png",
        driving_audio="None",
        media=[{"type": "last_frame", "url": "https://cdn.example.com/b.png"}],
        parameters={"resolution": "1080P", "seed": 3},
    )

    assert [item["type"] for item in task.request_media()] == ["first_frame", "last_frame"]
    assert task.request_parameters() == {"resolution": "1080P", "duration": 5, "seed": 3}


@pytest.mark.parametrize(
    "arguments",
    [{"timeout": 0}, {"poll_interval": -1}, {"on_ambiguous_submit": "perhaps"}, {"acceptance": "perhaps"}],
)
def test_senseless_arguments_are_refused_when_the_dag_is_read(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has a message of its own
        WanGenerateVideoOperator(task_id="x", model="wan2.7-i2v", **arguments)


def test_a_replacement_that_cannot_be_sent_leaves_what_is_bought_alone(
    film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    with out_of_time(gateway.emulator):
        runner.run(film(timeout=0.01))
    with pytest.raises(AirflowFailException, match="max_cost"):
        runner.run(film(prompt="Snow falls.", on_changed_request="resubmit", max_cost=0))
    runner.run(film())

    assert submitted(gateway) == 1
    assert gateway.emulator.ledger()[0]["billed"]


def test_an_uncertain_intent_outlives_a_resubmit_that_cannot_be_sent(
    film: Callable[..., Any], gateway: Any, runner: Any
) -> None:
    leave_an_intent(film, gateway, runner)
    with pytest.raises(AirflowFailException, match="max_cost"):
        runner.run(film(on_ambiguous_submit="resubmit", max_cost=0))
    with pytest.raises(AirflowFailException, match="may be in the making"):
        runner.run(film())

    assert submitted(gateway) == 0
