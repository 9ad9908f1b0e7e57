"""No secret survives in a log, an error or a record; and a signature does not make two requests different."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.purchases.record import fingerprint_of
from airflow_wan.redaction import MAX_DEPTH, clean_text, identity, redact, redact_beginning, secrets_in, shareable

if TYPE_CHECKING:
    from collections.abc import Callable

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
PNG_DIGEST = f"data:image/png;sha256={hashlib.sha256(PNG).hexdigest()}"
PNG_URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
FILM_DIGEST = f"data:text/plain;sha256={hashlib.sha256(b'film').hexdigest()}"

# Any secret -----------------------------------------------------------------------------------------------------------
#
# Secrets are made of these letters, and nothing else is: what is left of one is found in any output.

SECRET_LETTERS = "QXZ7"
QUERY_MARKS = "-._~!$&'()*+,;=:@/?"
USER_MARKS = ["-", ".", "_", "~", "!", "$", "&", "'", "(", "*", "+", ",", ";", "=", "%40", "%2F", "%3F", "%23", "%3A"]


def joined(separators: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A secret in several pieces, with characters between them that a parser may stumble over."""
    piece = st.text(SECRET_LETTERS, min_size=3, max_size=8)
    return st.builds(
        lambda first, rest: first + "".join(map("".join, rest)), piece, st.lists(st.tuples(separators, piece))
    )


def in_any_case(word: str) -> st.SearchStrategy[str]:
    return st.tuples(*(st.sampled_from([letter, letter.upper()]) for letter in word)).map("".join)


NOTHING = st.just("")
WEB_SCHEME = st.sampled_from(["http", "https"]).flatmap(in_any_case)
WITH_QUERY = WEB_SCHEME | st.sampled_from(["postgresql", "git+ssh", "redis", "ftp"])
SCHEME = WITH_QUERY | st.sampled_from(["s3", "S3", "oss", "gs", "abfss"])  # of a store, whose keys may hold any mark
PATH = st.sampled_from(["", "/", "/a.png", "/a/b@c.png", "/图.png", "/a%20b"])
SIGNATURE = st.builds(
    "{}={}".format,
    st.sampled_from(["Signature", "X-Amz-Signature", "x-oss-signature", "sig", "token", "access_token"]),
    joined(st.sampled_from("-._~%")),
)


def url(
    scheme: st.SearchStrategy[str] = SCHEME,
    user: st.SearchStrategy[str] = NOTHING,
    end: st.SearchStrategy[str] = NOTHING,
) -> st.SearchStrategy[str]:
    return st.builds("{}://{}host.example{}{}".format, scheme, user, PATH, end)


USER_PASSWORD = st.builds("{}:{}@".format, st.sampled_from(["", "user", "a.b"]), joined(st.sampled_from(USER_MARKS)))
TOKEN_AS_USER = joined(st.sampled_from(USER_MARKS)).map("{}@".format)
PASSWORD_URL = url(user=USER_PASSWORD) | url(scheme=WEB_SCHEME, user=TOKEN_AS_USER)
SIGNED_URL = url(end=st.builds("?{}{}".format, st.sampled_from(["", "v=2&"]), SIGNATURE))
QUERY_URL = url(WITH_QUERY, end=joined(st.sampled_from(QUERY_MARKS)).map("?{}".format))
FRAGMENT_URL = url(WITH_QUERY, end=joined(st.sampled_from(QUERY_MARKS)).map("#{}".format))
URL = PASSWORD_URL | SIGNED_URL | QUERY_URL | url(user=USER_PASSWORD, end=SIGNATURE.map("?{}".format))

KEY = st.builds(
    "{}{}".format, st.sampled_from(["sk-", "sk-sp-"]), st.text(SECRET_LETTERS + "-_", min_size=4, max_size=60)
).filter(lambda key: any(letter in key for letter in SECRET_LETTERS))
BEARER = joined(st.sampled_from("-._~+/=:,")).map("Bearer {}".format)


def encoded(text: str, times: int, safe: str) -> str:
    for _ in range(times):
        text = quote(text, safe=safe)
    return text


def within_a_url(secrets: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """URLs that hold another one, as image proxies have it."""
    inner = st.builds(encoded, secrets, st.integers(0, 3), st.sampled_from(["", "/"]))
    return st.builds("https://proxy.example/{}{}".format, st.sampled_from(["", "?url=", "resize/"]), inner)


WRITTEN: list[Callable[[str], str]] = [
    str,
    "see {}, then".format,
    "({})".format,
    "<{}>".format,
    "失败{}".format,
    "first line\n{}\nlast line".format,
    "a,{},b".format,
    lambda text: json.dumps({"message": text, "code": "a"}),
    lambda text: json.dumps({"message": json.dumps({"url": f"\n{text}"})}),
    lambda text: json.dumps(text).replace("/", "\\/"),
    lambda text: repr({"message": text, "code": "a"}),
    lambda text: f'<a href="{html.escape(text, quote=False)}">{html.escape(text, quote=False)}</a>',
    lambda text: f"<a href='{html.escape(text.replace(chr(39), '%27'))}'>a</a>",
]


def written(secrets: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Secrets as they stand in texts."""
    return st.builds(lambda write, text: write(text), st.sampled_from(WRITTEN), secrets)


# "%23" stays: it stands in many a file's name, and a fragment is never sent to a host.
SECRETS = URL | FRAGMENT_URL | within_a_url(URL) | KEY | within_a_url(KEY) | BEARER
DIRTY = st.lists(written(SECRETS), min_size=1, max_size=3).map(" ".join)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(leaves, inner, max_size=4)
        ),
        max_leaves=10,
    )


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def secret_letters(value: Any) -> set[str]:
    return set(SECRET_LETTERS) & set(as_json(value))


@given(DIRTY)
def test_no_secret_survives_in_a_text(text: str) -> None:
    for hidden in (redact(text), shareable(text)):
        assert not secret_letters(hidden)


@given(nested(DIRTY))
def test_no_secret_survives_in_json_of_any_shape(value: Any) -> None:
    assert not secret_letters(shareable(value))


@given(nested(written(PASSWORD_URL | SIGNED_URL | within_a_url(SIGNED_URL) | KEY)))
def test_no_secret_survives_that_airflow_masks(value: Any) -> None:
    shown = as_json(value)
    for secret in sorted(map(as_json, secrets_in(value)), key=len, reverse=True):
        shown = shown.replace(secret[1:-1], "***")

    assert not secret_letters(shown)


@given(url(), st.sampled_from(WRITTEN))
def test_a_url_without_secrets_stays(address: str, write: Callable[[str], str]) -> None:
    text = write(address)

    assert redact(text) == shareable(text) == text
    assert list(secrets_in(text)) == []


@given(URL)
def test_where_a_file_was_is_still_told(address: str) -> None:
    for hidden in (redact(address), shareable(address)):
        assert hidden.startswith(address.partition("://")[0] + "://host.example")


FRAGMENTS = ["http", "://", ":", "/", "%3a", "%2f", "%25", "%3f", "%40", "@", "?", "#", "'", '"', "\\", "&sig=", "sk-"]
FRAGMENTS += ["Bearer", " ", "data:", "a/b", ";", ",", "base64", "<", "…", "user", "\ud83d", "é"]
ANYTHING = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5)).map("".join)


@given(ANYTHING | DIRTY)
def test_what_is_hidden_once_stays_as_it_is(text: str) -> None:
    assert redact(redact(text)) == redact(text)
    assert shareable(shareable(text)) == shareable(text)
    assert identity(identity(text)) == identity(text)


@given(st.text(st.characters(exclude_characters=":?%", exclude_categories=["Cs", "Cc"])))
def test_a_text_without_urls_and_keys_stays(text: str) -> None:
    text = text.replace("sk-", "").replace("Bearer", "")

    assert redact(text) == shareable(text) == identity(text) == text


@given(nested(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | ANYTHING))
def test_the_shareable_form_is_json_and_its_input_is_not_changed(value: Any) -> None:
    before = repr(value)

    shown = json.dumps(shareable(value), allow_nan=False).encode()

    assert json.loads(shown) == json.loads(json.dumps(shareable(json.loads(shown))))
    assert repr(value) == before


@given(
    url(scheme=WEB_SCHEME, end=st.sampled_from(["?v=2", "?v=3&w=4", "?id=a%20b"])),
    SIGNATURE,
    SIGNATURE,
    st.sampled_from([lambda text: text, lambda text: {"media": [{"url": text}]}, lambda text: (text,)]),
)
def test_two_renderings_of_a_url_are_one_request(
    address: str, first: str, second: str, within: Callable[[str], Any]
) -> None:
    assert (
        identity(within(f"{address}&{first}")) == identity(within(f"{address}&{second}")) == identity(within(address))
    )
    assert identity(within(f"{address}&{first}")) != identity(within(f"{address}5&{first}"))


HOSTILE = [
    "a",
    "://",
    "https://",
    "'",
    "'a",
    "'http://'",
    "%",
    "%25",
    "%3a",
    "%3a%2f%2f",
    "https://u:p@",
    "@",
    "%40",
    "\\",
]
HOSTILE += [":%2f%2f", "%253a%2f%2f", "%3a%252f%252f", "?x-amz-", "#x-oss-", ";x-goog-"]
HOSTILE += ["?", "?a=", "?sig=", "&sig=", "Bearer ", "sk-", "sk-a", ";", "a/", "\ud83d", " ", "a b"]


@pytest.mark.parametrize("start", ["", "https://", "'https://", "https://user:", "https%3A%2F%2F", "data:", "Bearer "])
@pytest.mark.parametrize("function", [redact, shareable, identity, lambda text: list(secrets_in(text))])
def test_a_long_text_takes_no_longer_for_being_hostile(start: str, function: Callable[[str], Any]) -> None:
    for piece in HOSTILE:
        text = start + piece * (20_000 // len(piece))
        began = time.process_time()

        function(text)

        assert time.process_time() - began < 0.2, piece  # a search that backs up takes many seconds


# Texts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("see https://h.example/a?b=c, then", "see https://h.example/a?… then"),
        ('"HTTPS://h.example/a?Signature=x"', '"HTTPS://h.example/a?…"'),
        ("https://h.example/a#token", "https://h.example/a?…"),
        ("https://h.example/a is fine", "https://h.example/a is fine"),
        ("https://h.example/a?x=1 https://h.example/b?y=2", "https://h.example/a?… https://h.example/b?…"),
        ("['https://h.example/a?x=1','https://h.example/b?y=2']", "['https://h.example/a?…','https://h.example/b?…']"),
        ("'https://h.example/a?x='b'&y=c', then", "'https://h.example/a?…', then"),
        (
            "Max retries exceeded with url: /a.png?Signature=x (Caused",
            "Max retries exceeded with url: /a.png?… (Caused",
        ),
        ("url: /a.png?version=2", "url: /a.png?version=2"),
        ("Bearer sk-abcd1234", "Bearer sk-…"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': 'Bearer …'}"),
        ("a task-forced risk-free disk-based thing", "a task-forced risk-free disk-based thing"),
        ("key=sk-1234, key%3Dsk-1234, 密钥sk-1234无效", "key=sk-…, key%3Dsk-…, 密钥sk-…无效"),
    ],
)
def test_redaction_cuts_queries_and_keys_and_nothing_else(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://host/a.png", "https://host/a.png"),
        ("https://host/a.png?x=1&sig=s", "https://host/a.png"),
        ("HTTPS://host/图.png?sig=s", "HTTPS://host/图.png"),
        ("https://host/a#f?sig=s", "https://host/a"),
        ("https://user:secret@cdn.example.com/a.png?Signature=s#f", "https://cdn.example.com/a.png"),
        ("https://user:secret@cdn.example.com/a@b.png", "https://cdn.example.com/a@b.png"),
        ("https://user:a%2Fb%40c@host/a.png", "https://host/a.png"),
        ("https://token@host:8443/a@b.png", "https://host:8443/a@b.png"),
        ("https://proxy/https%3A%2F%2Fhost%2Fa.png%3Fsig%3Ds", "https://proxy/https%3A%2F%2Fhost%2Fa.png"),
        ("https://proxy/https%3A%2F%2Fu%3Ap%40host%2Fa%40b.png", "https://proxy/https%3A%2F%2Fhost%2Fa%40b.png"),
        ("s3://bucket/a#b?.png", "s3://bucket/a#b?.png"),
        ("S3://bucket/a?X-Amz-Signature=s", "S3://bucket/a"),
        ("s3://bucket/key.png?versionId=1", "s3://bucket/key.png?versionId=1"),
        ("s3://aws@bucket/a.png?versionId=1", "s3://aws@bucket/a.png?versionId=1"),
        ("s3://aws@bucket/a.png", "s3://aws@bucket/a.png"),
        ("s3://key:secret@bucket/a.png", "s3://bucket/a.png"),
        ("oss://upload/a.png", "oss://upload/a.png"),
        ("/data/is it?.png", "/data/is it?.png"),
        ("Look at https://cdn.example.com/?a=b and go", "Look at https://cdn.example.com/ and go"),
        (PNG_URI, PNG_DIGEST),
        (PNG_URI.replace("data:image/png", "DATA:image/png;name=a"), PNG_DIGEST),
        (PNG_URI.replace("data:image/png", "data:"), PNG_DIGEST.replace("image/png", "text/plain")),
        ("data:text/plain,film", FILM_DIGEST),
        ("data:text/plain,%66ilm", FILM_DIGEST),
        ("data:image/png;base64,A", f"data:image/png;sha256={hashlib.sha256(b'A').hexdigest()}"),
        ("Data: a cat, a dog, is it?", "Data: a cat, a dog, is it?"),
        ("data:, rain", "data:, rain"),
        ("A task-list of the risk-averse, sk-8 boards", "A task-list of the risk-averse, sk-8 boards"),
        ("cut \ud83d", "cut ?"),
        ("data:text/plain,\ud83d", f"data:text/plain;sha256={hashlib.sha256(b'?').hexdigest()}"),
    ],
)
def test_the_shareable_form_of_a_text(text: str, shown: str) -> None:
    body = {"input": {"media": [{"url": text}]}}

    assert shareable(body) == {"input": {"media": [{"url": shown}]}}
    assert shareable(shareable(body)) == shareable(body)
    assert body == {"input": {"media": [{"url": text}]}}


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_no_json_becomes_null(figure: float) -> None:
    assert shareable({"usage": [figure, 1.5]}) == {"usage": [None, 1.5]}


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("tab\tline\nend", "tab\tline\nend"),
        ("windows\r\nline", "windows\nline"),
        ("half \ud83d of one", "half � of one"),
        ("\0\x01\x1b[31mred", "�[31mred"),
        ("\x7f\x85\x9b", "�"),
        ("a\u2028b\u2029c", "a�b�c"),
        ("abc\u202egnp.exe\u2066", "abc�gnp.exe�"),
        ("一只风筝 🎥 é", "一只风筝 🎥 é"),
    ],
)
def test_a_clean_text_has_neither_halves_of_characters_nor_control_characters(text: str, clean: str) -> None:
    assert clean_text(text) == redact(text) == clean
    assert clean_text(clean) == clean
    clean_text(text).encode()


def test_the_beginning_of_a_text_is_one_line() -> None:
    assert redact_beginning("no\n2026-11-25 INFO all is well\r\nend", 100) == "no 2026-11-25 INFO all is well end"


@given(st.text(st.characters()))
def test_a_redacted_text_can_be_written_anywhere(text: str) -> None:
    for shown in (redact(text), shareable(text), redact_beginning(text, 100)):
        assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in set(shown) - {"\n", "\t"})
        shown.encode()


# What makes two requests equal, and what Airflow masks ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "bare"),
    [
        ("https://b.s3.amazonaws.com/a.png?X-Amz-Signature=abc&X-Amz-Expires=60", "https://b.s3.amazonaws.com/a.png"),
        (
            "https://b.oss-cn-beijing.aliyuncs.com/a.png?Expires=1&OSSAccessKeyId=k&Signature=s",
            "https://b.oss-cn-beijing.aliyuncs.com/a.png",
        ),
        ("https://storage.googleapis.com/b/a.png?X-Goog-Signature=s", "https://storage.googleapis.com/b/a.png"),
        (
            "https://x.blob.core.windows.net/c/a.png?sv=2024&se=2026&sr=b&sp=r&sig=s",
            "https://x.blob.core.windows.net/c/a.png",
        ),
        ("HTTPS://CDN.example.com/a.png?sig=s", "https://cdn.example.com/a.png"),
        ("https://cdn.example.com/a.png?v=2", "https://cdn.example.com/a.png?v=2"),
        ("https://cdn.example.com/a.png", "https://cdn.example.com/a.png"),
        ("s3://bucket/a.png?versionId=2", "s3://bucket/a.png?versionId=2"),
    ],
)
def test_a_url_is_told_from_its_signature(address: str, bare: str) -> None:
    assert identity(address) == bare


def test_a_fingerprint_changes_with_what_the_request_asks_for_and_not_with_its_signatures() -> None:
    def body(address: str) -> dict[str, object]:
        return {"model": "wan2.7-i2v", "input": {"prompt": "x", "media": [{"type": "first_frame", "url": address}]}}

    first = fingerprint_of(body("https://cdn.example.com/a.png?id=1&Signature=a"))

    assert first == fingerprint_of(body("https://cdn.example.com/a.png?Signature=b&id=1"))
    assert first != fingerprint_of(body("https://cdn.example.com/a.png?id=2&Signature=a"))
    assert first != fingerprint_of(body("https://cdn.example.com/b.png?id=1&Signature=a"))


def test_secrets_are_found_wherever_they_are() -> None:
    signed = "https://b.s3.amazonaws.com/a.png?X-Amz-Signature=abc"
    fields = [
        "a prompt? yes",
        [{"type": "first_frame", "url": signed}],
        {"seed": 7},
        "https://cdn.example.com/b?version=2",
    ]
    fields += [
        "https://cdn.example.com/b#policy",
        "HTTPS://user:secret@host/a",
        "s3://aws@bucket/a",
        {"key": "sk-1234"},
    ]

    assert list(secrets_in(fields)) == ["X-Amz-Signature=abc", "version=2", "policy", "secret", "sk-1234"]


@pytest.mark.parametrize("before", ["", "why: ", "https://h.example/?" + "q" * 19_900 + " ", "x" * 19_980 + " "])
@pytest.mark.parametrize(
    "secret", ["https://user:TOPSECRET@h.example/a", "https://h.example/a?sig=TOPSECRET", "sk-TOPSECRET"]
)
def test_no_cut_of_a_long_text_leaves_the_beginning_of_a_secret(secret: str, before: str) -> None:
    for shift in range(0, 60, 3):
        text = (before + "." * shift)[:20_000] + " " + secret + " " + "y " * 20_000

        beginning = redact_beginning(text, 1_000)

        assert "TOP" not in beginning
        assert len(beginning) <= 1_000


@given(value=st.recursive(st.none() | st.integers() | st.floats() | st.text(st.characters()), st.lists))
def test_what_may_be_shared_can_be_stored_anywhere(value: Any) -> None:
    stored = shareable(value)

    msgspec.msgpack.encode(stored)
    text = json.dumps(stored, allow_nan=False, ensure_ascii=False)
    text.encode()
    assert "\\u0000" not in text
    assert shareable(stored) == stored


def test_what_is_nested_too_deep_is_left_out() -> None:
    deep: Any = "leaf"
    for _ in range(100_000):
        deep = {"a": deep}

    assert json.dumps(shareable(deep)).count("a") == MAX_DEPTH
