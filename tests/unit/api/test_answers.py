"""Whatever a gateway sends, what is behind `Answer.read` can be stored, sent on and shown."""

from __future__ import annotations

import base64
import gzip
import json
import math
import os
import time
import zlib
from dataclasses import asdict
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.api.answers import MAX_ANSWER_BYTES, MAX_DEPTH, MAX_VALUES, Answer, is_task_id
from airflow_wan.api.gateways import DASHSCOPE, Account
from airflow_wan.api.tasks import WanTask, check_canceled, read_created, read_list, read_task
from airflow_wan.api.uploads import read_policy
from airflow_wan.exceptions import SubmitAmbiguous, WanError, error_from_dict, error_to_dict
from airflow_wan.redaction import KeyMask
from airflow_wan.waiting.watch import VideoWatch

TASK_ID = "f8ca39a0-6f4b-4ec2-99bf-8b9649d946c4"
KEY = "odd/Key+without-prefix&0123456789"
MASK = KeyMask(KEY)
ACCOUNT = Account(DASHSCOPE, "https://dashscope.aliyuncs.com", KEY)
HALF = "\ud83d"


def received(payload: object, status: int = 200, headers: dict[str, bytes] | None = None) -> Answer:
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Answer.read(status, [(name.encode(), value) for name, value in (headers or {}).items()], content, MASK)


def crosses_every_border(value: Any) -> None:
    """Assert that Airflow's own messages, JSON in UTF-8 and a PostgreSQL text can hold a value."""
    msgspec.msgpack.encode({"value": value})
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    written.encode()
    assert not any(ord(character) < 32 for text in texts_in(value) for character in text if character not in "\n\t")
    assert "\0" not in written
    for number in numbers_in(value):
        assert math.isfinite(number)
        assert abs(number) < 2**63 or isinstance(number, float)


def leaves_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for pair in value.items() for part in pair for leaf in leaves_of(part)]
    return [leaf for part in value for leaf in leaves_of(part)] if isinstance(value, list | tuple) else [value]


def texts_in(value: Any) -> list[str]:
    return [leaf for leaf in leaves_of(value) if isinstance(leaf, str)]


def numbers_in(value: Any) -> list[int | float]:
    return [leaf for leaf in leaves_of(value) if isinstance(leaf, int | float)]


# Any answer -----------------------------------------------------------------------------------------------------------

NASTY = st.sampled_from(
    [HALF, "\0", "\x1b[31m", "a\0b", "\x85", "\x9b", "\r", f"cut {HALF}", KEY, f"key={KEY}", "failed", "SUCCEEDED"]
)
TEXT = NASTY | st.text(st.characters(), max_size=12) | st.sampled_from([TASK_ID, "x" * 70_000, "0001-01-01 00:00:00"])
NUMBER = st.integers(-(10**400), 10**400) | st.floats() | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**18])
NAME = NASTY | st.sampled_from(
    [
        *("output", "data", "result", "error", "usage", "task_id", "task_status", "status", "code", "message", "url"),
        *("fail_reason", "request_id", "orig_prompt", "submit_time", "progress", "result_url", "gmt_create", "tasks"),
    ]
)
DEEP = st.integers(1, 900).map(lambda depth: json.loads("[" * depth + "1" + "]" * depth))
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT | DEEP,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=6),
    max_leaves=10,
)
TASK = st.fixed_dictionaries(
    {"output": st.dictionaries(NAME, JSON, max_size=8).map(lambda fields: {"task_status": "FAILED", **fields})},
    optional={"usage": st.dictionaries(NAME, JSON), "request_id": TEXT, "code": TEXT, "message": TEXT},
)
HEADER = st.binary(max_size=20) | st.sampled_from(
    [b"1e308", b"nan", b"Fri, 31 Dec 9999 23:59:59 GMT", KEY.encode(), b"r\x00q", b"\xed\xa0\xbd", b"x" * 70_000]
)
ANSWERS = st.builds(
    received,
    TASK | JSON | st.binary(max_size=50),
    st.sampled_from([200, 202, 302, 400, 401, 404, 408, 429, 500, 999]),
    st.dictionaries(
        st.sampled_from(["retry-after", "X-Request-Id", "x-shellapi-request-id", "Content-Type"]), HEADER, max_size=4
    ),
)


def event_of(error: WanError) -> dict[str, Any]:
    return error_to_dict(error_from_dict(json.loads(json.dumps(error_to_dict(error)))))


@given(ANSWERS)
def test_what_is_read_from_any_answer_crosses_every_border_and_holds_no_key(answer: Answer) -> None:
    shown: list[Any] = [answer.payload, dict(answer.headers), answer.text, answer.request_id]
    waits: list[float] = []
    for read in (
        read_created,
        lambda got: read_task(got, TASK_ID),
        read_list,
        lambda got: check_canceled(got, TASK_ID),
        lambda got: read_policy(got, ACCOUNT),
    ):
        try:
            found = read(answer)
        except WanError as error:
            waits.append(error.retry_after or 0.0)
            shown += [error_to_dict(error), event_of(error), str(error)]
        else:
            if isinstance(found, WanTask):
                facts = asdict(found)
                shown.append({name: str(fact) if isinstance(fact, datetime) else fact for name, fact in facts.items()})
                shown += [str(moment.timestamp()) for moment in facts.values() if isinstance(moment, datetime)]
                decision = VideoWatch(TASK_ID, 0.0, 100.0).see_task(found, 50.0)
                shown += [list(decision.notes), decision.error and error_to_dict(decision.error)]
    assert all(0 <= seconds <= 86_400 for seconds in waits)
    for value in shown:
        crosses_every_border(value)
        assert KEY not in str(value)


def test_half_an_emoji_in_the_reason_of_a_failure_reaches_the_event_as_a_replacement() -> None:
    answer = received({"output": {"task_id": TASK_ID, "task_status": "FAILED", "message": f"sad {HALF}\0"}})

    decision = VideoWatch(TASK_ID, 0.0, 100.0).see_task(read_task(answer, TASK_ID), 50.0)

    assert decision.error is not None
    assert "sad \ufffd" in decision.error.message
    crosses_every_border(error_to_dict(decision.error))


def test_a_character_that_was_cut_in_utf8_does_not_make_the_answer_unreadable() -> None:
    content = json.dumps({"output": {"task_id": TASK_ID}, "m": "图"}, ensure_ascii=False).encode()

    assert read_created(received(content.replace("图".encode(), "图".encode()[:2]))).wan_task_id == TASK_ID
    assert read_created(received(b"\xef\xbb\xbf" + content)).wan_task_id == TASK_ID


@pytest.mark.parametrize("number", ["9" * 400, "1e999", "-1e999", "NaN", "Infinity", "9" * 5_000, str(2**63)])
def test_a_number_that_no_database_holds_becomes_none_and_the_rest_is_read(number: str) -> None:
    content = f'{{"output": {{"task_id": "{TASK_ID}", "task_status": "SUCCEEDED"}}, "usage": {{"n": {number}}}}}'

    assert read_task(received(content.encode()), TASK_ID).usage == {"n": None}


def test_what_is_nested_too_deeply_becomes_none_and_the_rest_is_read() -> None:
    usage = b'{"u":' * 400 + b"1" + b"}" * 400
    content = b'{"output": {"task_id": "%s", "task_status": "SUCCEEDED"}, "usage": %s}' % (TASK_ID.encode(), usage)

    task = read_task(received(content), TASK_ID)

    assert json.dumps(task.usage).count("{") < MAX_DEPTH


@pytest.mark.parametrize("year", ["0001", "1969", "9999"])
def test_a_time_of_another_age_is_no_time(year: str) -> None:
    output = {"task_id": TASK_ID, "task_status": "RUNNING", "submit_time": f"{year}-01-01 00:00:00.000"}

    assert read_task(received({"output": output}), TASK_ID).submitted_at is None


# The id of a paid task -----------------------------------------------------------------------------------------------

CREATED = json.dumps({"output": {"task_status": "PENDING", "task_id": TASK_ID}, "request_id": "r-1"})
UNREADABLE = {
    "gzip": gzip.compress(CREATED.encode()),
    "gzip, cut off": gzip.compress(CREATED.encode() + os.urandom(500))[:-100],
    "zlib": zlib.compress(CREATED.encode()),
    "a byte order mark": b"\xef\xbb\xbf" + CREATED.encode(),
    "UTF-16": CREATED.encode("utf-16"),
    "UTF-16 without a mark": CREATED.encode("utf-16-le"),
    "UTF-32": CREATED.encode("utf-32"),
    "cut off after the id": CREATED[: CREATED.index(TASK_ID) + 37].encode(),
    "a warning of PHP before it": f"<br />\n<b>Warning</b>: Undefined index in /a.php<br />\n{CREATED}".encode(),
    "a comment after it": f"{CREATED}<!-- cached by nginx -->".encode(),
    "twice": (CREATED * 2).encode(),
    "JSON as a text of JSON": json.dumps(CREATED).encode(),
    "what Python prints": repr(json.loads(CREATED)).encode(),
    "a list": f"[{CREATED}]".encode(),
    "a form that nobody knows": json.dumps({"response": {"job": {"task_id": TASK_ID}}}).encode(),
    "a call of JSONP": f"callback({CREATED})".encode(),
    "an event stream": f"id:1\nevent:result\ndata:{CREATED}\n\n".encode(),
}


@pytest.mark.parametrize("label", [{}, {"content-encoding": b"gzip"}, {"content-encoding": b"br"}], ids=str)
@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_the_id_of_an_accepted_task_is_not_lost_however_its_answer_is_written(
    content: bytes, label: dict[str, bytes]
) -> None:
    assert read_created(received(content, 200, label)).wan_task_id == TASK_ID


@pytest.mark.parametrize("status", [302, 400, 401, 429, 500, 502])
@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_an_id_in_an_answer_that_proves_nothing_is_named(content: bytes, status: int) -> None:
    with pytest.raises(SubmitAmbiguous, match=TASK_ID) as caught:
        read_created(received(content, status))

    assert caught.value.wan_task_id == TASK_ID
    assert "WanVideoSensor" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        CREATED[: CREATED.index(TASK_ID) + 20].encode(),
        f'"task_id": "{TASK_ID}", "task_id": "another"'.encode(),
        f'"task_id": "{TASK_ID} and more"'.encode(),
        f'"not_task_id": "{TASK_ID}"'.encode(),
        f'"task_id": "{KEY}"'.encode(),
    ],
)
def test_what_is_not_unmistakably_one_id_is_not_taken_for_it(content: bytes) -> None:
    with pytest.raises(SubmitAmbiguous):
        read_created(received(content))


def test_a_status_is_read_behind_a_warning_of_php() -> None:
    content = f'Warning: x in a.php\n{{"output": {{"task_id": "{TASK_ID}", "task_status": "RUNNING"}}}}'

    assert read_task(received(content.encode()), TASK_ID).status_word == "RUNNING"


# Sizes ----------------------------------------------------------------------------------------------------------------

MANY = [
    pytest.param(b" " * MAX_ANSWER_BYTES + b"{}", id="more bytes than are read"),
    pytest.param(b"[" + b"0," * 100_000 + b"0]", id="more values than are parsed"),
    pytest.param(b"[" + b"0," * MAX_VALUES + b"0]", id="more values than are kept"),
    pytest.param(b"[" * 50_000, id="endless nesting"),
    pytest.param(b'{"a":' * 50_000, id="endless objects"),
    pytest.param(gzip.compress(b" " * 90_000_000), id="a small body that is large when it is unpacked"),
    pytest.param(b"\x28\xb5\x2f\xfd{}", id="compressed in a way that is not read"),
]


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
@pytest.mark.parametrize("content", MANY)
def test_an_answer_that_is_not_read_proves_nothing(content: bytes, status: int) -> None:
    answer = received(content, status, {"content-encoding": b"gzip"})

    assert answer.unreadable
    with pytest.raises(SubmitAmbiguous, match="cannot be read"):
        read_created(answer)
    with pytest.raises(WanError, match="cannot be read"):
        read_task(answer, TASK_ID)


def test_the_longest_prompts_are_read_whole() -> None:
    prompt = "\U0001f3a5" * 20_000
    output = {"task_id": TASK_ID, "task_status": "SUCCEEDED", "orig_prompt": prompt, "actual_prompt": prompt}

    task = read_task(received({"output": output}), TASK_ID)

    assert (task.orig_prompt, task.actual_prompt) == (prompt, prompt)


def test_a_prompt_full_of_commas_is_read_whole() -> None:
    output = {
        "task_id": TASK_ID,
        "task_status": "SUCCEEDED",
        "orig_prompt": "," * 20_000,
        "actual_prompt": "[" * 20_000,
    }

    assert read_task(received({"output": output}), TASK_ID).orig_prompt == "," * 20_000


HOSTILE = [
    b"[" + b"0," * 59_000 + b"0]",
    b"[" + b"{}," * 9_000 + b"0]",
    b"[" + b'"\\u0000a",' * 9_000 + b"0]",
    b'"' + b"\\u0000a" * (MAX_ANSWER_BYTES // 8) + b'"',
    b'"' + b"\\ud83da" * (MAX_ANSWER_BYTES // 8) + b'"',
    b"{" + b",".join(b'"%x":0' % number for number in range(9_000)) + b"}",
    b'"' + KEY[:8].encode() * (MAX_ANSWER_BYTES // 9) + b'"',
    b'"' + KEY.encode() * (MAX_ANSWER_BYTES // 40) + b'"',
    b"[" + b"1." + b"1" * (MAX_ANSWER_BYTES - 10) + b"]",
    b"[" + b"9" * (MAX_ANSWER_BYTES - 10) + b"]",
    *(
        b'{"status": "%s", "message": "%s", "fail_reason": "%s"}' % (word, piece * (150_000 // len(piece)), piece * 9)
        for word in (b"failed", b"?x-amz-" * 20_000)
        for piece in (
            b"?x-amz-",
            b":%2f%2f",
            b"%253a%2f%2f",
            b"sk-",
            b"Bearer ",
            b"[A.",
            b"://",
            b"'http",
            b"%25",
            b"a ",
        )
    ),
]


def test_no_answer_takes_long_to_read() -> None:
    def seconds(content: bytes) -> float:
        began = time.thread_time()
        for read in (read_created, lambda got: read_task(got, TASK_ID), read_list):
            try:
                read(received(content))
            except WanError as error:
                str(error)
        return time.thread_time() - began

    # 20 readings of an answer as large as any, without anything of the kind in it, are what this machine can do.
    plain = seconds(b'{"status": "running", "message": "%s"}' % (b"a" * (MAX_ANSWER_BYTES - 100)))
    for content in HOSTILE:
        assert seconds(content) < max(0.3, 100 * plain), content[:60]  # a search that backs up takes many seconds


# Ids ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unusable",
    [
        "a" * 201,
        "x" * 70_000,
        f"a{HALF}",
        "a\0b",
        "a b",
        "a\nb",
        "a\x1b[31m",
        "..",
        ".",
        "\x85",
        f"id-{KEY}",
        2**64,
        1.5e300,
    ],
)
@pytest.mark.parametrize("status", [200, 201, 400, 429])
def test_a_create_with_an_id_that_nobody_can_ask_for_is_ambiguous(unusable: object, status: int) -> None:
    answer = received({"output": {"task_id": unusable, "task_status": "PENDING"}, "request_id": "r-1"}, status)

    if status == 200 or isinstance(unusable, str):
        with pytest.raises(SubmitAmbiguous) as caught:
            read_created(answer)
        assert "task_id" in caught.value.message or "task id" in caught.value.message
        crosses_every_border(error_to_dict(caught.value))


@pytest.mark.parametrize("usable", [TASK_ID, "4711", "task_Ab-1.2:3=", "../x?y#z/ü"])
def test_a_usual_id_can_be_asked_for(usable: str) -> None:
    assert is_task_id(usable)
    assert read_created(received({"output": {"task_id": usable}})).wan_task_id == usable


# The account's own key ------------------------------------------------------------------------------------------------


ENCODED = [
    str,
    lambda key: quote(key, safe=""),
    lambda key: "".join(f"%{byte:02x}" for byte in key.encode()),
    lambda key: json.dumps({"header": f"Bearer {key}"}),
    repr,
    lambda key: key.replace("&", "&amp;"),
    lambda key: key.encode().hex(),
    *(
        lambda key, before=before: base64.b64encode(f"{before}{key}".encode()).decode()
        for before in ("", "a", "ab", "Bearer ", "user:")
    ),
    lambda key: base64.urlsafe_b64encode(f"Bearer {key}".encode()).decode(),
    lambda key: key[:20],
]


@pytest.mark.parametrize("key", [KEY, "sk-0123456789abcdefghij", 'q"uo\\te/d-0123456789', "12345678"])
@pytest.mark.parametrize("encode", ENCODED)
def test_a_key_is_hidden_however_it_is_echoed(key: str, encode: Any) -> None:
    echoed = encode(key)
    mask = KeyMask(key)

    hidden = mask.hide(f"wrong key {echoed}, sorry")

    assert hidden.startswith("wrong key ")
    assert "***" in hidden
    for start in range(19, len(echoed) - 8):  # what stands before the key in an echo has up to 19 characters
        assert echoed[start : start + 8] not in hidden
    assert mask.hide(hidden) == hidden
    payload = {"message": f"wrong key {echoed}", echoed: 1, "list": [echoed]}
    answer = Answer.read(401, [(b"x-request-id", echoed.encode())], json.dumps(payload).encode(), mask)
    for shown in (repr(answer.payload), repr(answer.headers), answer.request_id or ""):
        assert echoed not in shown


def test_a_key_that_is_too_short_to_be_one_hides_nothing() -> None:
    assert KeyMask("abc").hide("abcdefg abc") == "abcdefg abc"


def test_the_repr_of_an_answer_and_of_a_mask_shows_neither_body_nor_key() -> None:
    answer = received({"output": {"video_url": "https://h.example/a?Signature=TOPSECRET"}})

    assert "TOPSECRET" not in repr(answer)
    assert KEY not in repr(MASK)
