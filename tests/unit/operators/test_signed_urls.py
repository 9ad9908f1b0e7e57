"""Signed media URLs, of known vendors and of none: they are made anew for each try, and shown nowhere."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from airflow.providers.common.compat.sdk import redact
from hypothesis import given
from hypothesis import strategies as st
from task_runner import out_of_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_wan.emulator.testing import MediaServer

COS = (
    "q-sign-algorithm=sha1&q-ak=AKIDabcdef&q-sign-time={0};{1}&q-key-time={0};{1}&q-header-list=host"
    "&q-url-param-list=&q-signature={2}"
)
AKAMAI = "hdnts=exp={0}~acl=/*~hmac={2}"
UNKNOWN = "k={2}&t={0}"


def shown(task: Any) -> str:
    """What Airflow's web interface shows as the task's rendered fields. Airflow 3.0 redacts them later than others."""
    from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

    task.render_template_fields({})
    return repr(redact(_serialize_rendered_fields(task)))


@pytest.mark.parametrize("query", [COS, AKAMAI, UNKNOWN])
def test_a_retry_with_a_url_signed_anew_fetches_the_paid_video(
    query: str, film: Callable[..., Any], gateway: Any, runner: Any, media: MediaServer
) -> None:
    def signed_at(moment: int, signature: str) -> str:
        return media.url("frame.png?" + query.format(moment, moment + 600, signature))

    with out_of_time(gateway.emulator):
        runner.run(film(timeout=0.01, first_frame=signed_at(1_764_115_200, "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b")))
    runner.run(film(first_frame=signed_at(1_764_118_800, "1b4f0e9851971998e732078544c96b36c3d01ced")))

    assert len(gateway.emulator.ledger()) == 1


# Letters that stand in no other word here, so that any part of the secret is found.
TOKEN = st.text("QXZ7", min_size=8, max_size=40)
NAME = st.sampled_from(
    ["q-signature", "hdnts", "k", "sig", "Signature", "X-Amz-Signature", "password", "zz", "v", "id"]
)
# Airflow's masker keeps the secrets of all examples. Each ends alike, so that none is the beginning of another.
QUERY = st.builds(
    lambda pairs, glue: "&".join([*(f"{name}{glue}{token}" for name, token in pairs), "end=1"]),
    st.lists(st.tuples(NAME, TOKEN), min_size=1, max_size=3),
    st.sampled_from(["=", "%3D", "=exp=1764115200~hmac="]),
)
SECRETS = ("QX", "XQ", "ZZ", "Z7", "7Z", "QZ", "ZQ", "QQ", "XX", "77Q", "X7", "7X", "Q7", "7Q")


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """What this package logged; the emulator's web server logs what it is asked for."""
    return "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("airflow_wan"))


def leaks(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


@given(query=QUERY, scheme=st.sampled_from(["http", "HTTP", "Http"]))
def test_a_signed_url_is_shown_nowhere_when_all_goes_well(
    query: str,
    scheme: str,
    film: Callable[..., Any],
    connect_to: Callable[[str], Any],
    runner: Any,
    media: MediaServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connect_to("dashscope")
    task = film(first_frame=media.url(f"frame.png?{query}").replace("http", scheme, 1), reuse=False)

    rendered = shown(task)
    path = runner.run(task)

    assert not leaks(rendered)
    assert not leaks(repr((runner.instance.xcoms, runner.trigger_kwargs, runner.events, runner.store.rows)))
    assert not leaks(logged(caplog))
    with open(f"{path}.json", encoding="utf-8") as record:  # noqa: PTH123 - the path is the task's own text
        assert not leaks(record.read().partition('"sha256"')[0])


@given(
    query=QUERY,
    start=st.sampled_from(
        ["https://", "HTTPS://", "https://user:QXZ7QXZ7@", "https://ZZQQXX77@", "ftp://", "//", "http:/"]
    ),
    wrong=st.sampled_from([{"duration": 99}, {"seed": -5}, {"prompt": None}, {}]),
)
def test_a_signed_url_is_shown_nowhere_when_the_request_is_refused(
    query: str,
    start: str,
    wrong: dict[str, Any],
    film: Callable[..., Any],
    connect_to: Callable[[str], Any],
    runner: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connect_to("apiyi")
    wrong = wrong if start.lower().startswith("https") else {}
    task = film(first_frame=f"{start}files.invalid/mug.png?{query}", **wrong or {"duration": 99})

    rendered = shown(task)
    with pytest.raises(Exception, match="Nothing was sent") as raised:
        runner.run(task)

    assert start in ("ftp://", "//", "http:/") or not leaks(rendered)
    assert not leaks("".join(traceback.format_exception(raised.value)))
    assert not leaks(repr((raised.value.__context__, raised.value.__cause__)))
    assert not leaks(logged(caplog))


def test_a_query_without_a_signature_is_hidden_too_and_tells_files_apart(
    film: Callable[..., Any], gateway: Any, runner: Any, media: MediaServer
) -> None:
    tasks = [film(first_frame=media.url(f"frame.png?photo={quote(name)}"), reuse=True) for name in ("mug", "cup")]

    assert all("photo=" not in shown(task) for task in tasks)
    for task in tasks:
        runner.run(task)

    assert len(gateway.emulator.ledger()) == 2
