"""What in a URL names a file, and what only signs it: by the URLs of many vendors, and of none."""

from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_wan.purchases.record import fingerprint_of
from airflow_wan.redaction import redact, secrets_in, shareable
from airflow_wan.web_urls import file_identity, is_signed

if TYPE_CHECKING:
    from collections.abc import Callable

CHINA = timezone(timedelta(hours=8))
MOMENT = st.integers(1_600_000_000, 2_200_000_000)
ISO = st.datetimes().map(lambda moment: f"20{moment.year % 100:02}{moment:%m%dT%H%M%SZ}")
HEX = st.binary(min_size=16, max_size=32).map(bytes.hex).filter(lambda text: not text.isdigit() and not text.isalpha())


def is_mixed(text: str) -> bool:
    return len(set(text)) > 10


BASE64 = st.binary(min_size=20, max_size=64).map(lambda raw: base64.b64encode(raw).decode()).filter(is_mixed)
URLSAFE = st.binary(min_size=20, max_size=64).map(lambda raw: base64.urlsafe_b64encode(raw).decode()).filter(is_mixed)
HEX_MOMENT = MOMENT.map("{:x}".format)

# How each vendor signs; "{t}" and "{u}" are moments, "{c}", "{d}", "{o}" and "{r}" dates, "{x}" is hexadecimal, and
# "{b}" base64.
VENDORS = {
    "S3": "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20261126%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date={d}&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Security-Token={b}&X-Amz-Signature={x}",
    "S3, version 2": "AWSAccessKeyId=AKIA&Expires={t}&Signature={b}",
    "CloudFront": "Expires={t}&Signature={s}&Key-Pair-Id=K2",
    "CloudFront, policy": "Policy={s}&Signature={s}&Key-Pair-Id=K2",
    "Google": "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Date={d}&X-Goog-Expires=900&X-Goog-Signature={x}",
    "Azure": "sv=2024-11-04&st=2026-11-26T00%3A00%3A00Z&se=2026-11-27T00%3A00%3A00Z&sr=b&sp=r&sig={b}",
    "OSS": "Expires={t}&OSSAccessKeyId=LTAI&Signature={b}",
    "OSS, version 4": "x-oss-date={d}&x-oss-expires=60&x-oss-signature={x}&x-oss-credential=LTAI",
    "COS": "q-sign-algorithm=sha1&q-ak=AKID{x}&q-sign-time={t}%3B{u}&q-key-time={t};{u}&q-header-list=host"
    "&q-url-param-list=&q-signature={x}&x-cos-security-token={s}",
    "OBS": "AccessKeyId={x}&Expires={t}&x-obs-security-token={b}&Signature={b}",
    "TOS": "X-Tos-Algorithm=TOS4-HMAC-SHA256&X-Tos-Date={d}&X-Tos-Signature={x}",
    "BOS": "authorization=bce-auth-v1%2F{x}%2F2026-11-26T00%3A00%3A00Z%2F1800%2Fhost%2F{x}",
    "Qiniu": "e={t}&token={s}:{s}",
    "Akamai": "hdnts=exp={t}~acl=/*~hmac={x}",
    "Akamai, other name": "tkn=st={t}~exp={u}~acl=/*~hmac={x}",
    "Alibaba CDN": "auth_key={t}-0-0-{x}",
    "Tencent CDN": "sign={x}&t={h}",
    "Wangsu": "wsSecret={x}&wsTime={h}",
    "Bunny": "token={s}&expires={t}",
    "nginx": "md5={s}&e={t}",
    "imgix": "s={x}",
    "ImageKit": "ik-t={t}&ik-s={x}",
    "Discord": "ex={h}&is={h}&hm={x}",
    "Firebase": "alt=media&token={g}",
    "unknown": "zz={x}&when={t}",
    "unknown, other moments": "sign={x}&a={c}&b={o}&c={r}",
    "Upyun": "_upt={h}{t}",
    "unknown, JWT": "a=eyJ{s}.eyJ{s}.{s}",
}


def rendering(vendor: str) -> st.SearchStrategy[str]:
    """One URL query of a vendor, with everything made anew."""
    made = st.fixed_dictionaries(
        {
            "t": MOMENT,
            "u": MOMENT,
            "d": ISO,
            "x": HEX,
            "b": BASE64.map(quote),
            "s": URLSAFE,
            "h": HEX_MOMENT,
            "c": MOMENT.map(lambda moment: f"{datetime.fromtimestamp(moment, UTC):%Y%m%d%H%M%S}"),
            "o": MOMENT.map(lambda moment: quote(datetime.fromtimestamp(moment, CHINA).isoformat())),
            "r": MOMENT.map(lambda moment: quote(formatdate(moment, usegmt=True))),
            "g": st.binary(min_size=16, max_size=16).map(lambda raw: uuid.UUID(bytes=raw)),
        }
    )
    return made.map(lambda values: VENDORS[vendor].format(**values))


@pytest.mark.parametrize("vendor", sorted(VENDORS.keys() - {"Firebase"}))
@given(data=st.data())
def test_a_signature_that_is_made_anew_is_no_changed_request(vendor: str, data: st.DataObject) -> None:
    first, second = (data.draw(rendering(vendor)) for _ in range(2))
    addresses = [f"https://files.example/mug.png?{query}" for query in (first, second)]

    assert file_identity(addresses[0]) == file_identity(addresses[1])
    assert file_identity(addresses[0]) != file_identity(addresses[1].replace("mug", "cup"))
    for name in ("versionId", "generation", "id", "v"):
        assert len({file_identity(f"{addresses[0]}&{name}={n}") for n in (1, 2, "a1B2c3D4e5F6a7B8c9D0")}) == 3
    assert all(is_signed(query) for query in (first, second))


@pytest.mark.parametrize("vendor", sorted(VENDORS))
@given(data=st.data())
def test_no_signature_is_shown(vendor: str, data: st.DataObject) -> None:
    query = data.draw(rendering(vendor))
    for address in (f"https://files.example/mug.png?{query}", f"HTTPS://user:passw0rd@files.example/mug.png?{query}"):
        assert query not in redact(f"see {address}, then")
        assert query not in shareable(address)
        assert query in list(secrets_in({"media": [{"url": address}]}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://cdn/img?id=1", "https://cdn/img?id=2"),
        ("https://cdn/img?1", "https://cdn/img?2"),
        (f"https://cdn/img?id={uuid.UUID(int=2**127 + 1)}", f"https://cdn/img?id={uuid.UUID(int=2**127 + 2)}"),
        ("https://cdn/img?photo=IMG20240101123456", "https://cdn/img?photo=IMG20240101123457"),
        ("https://cdn/img?title=summer-holiday-2024-1", "https://cdn/img?title=summer-holiday-2024-2"),
        ("https://cdn/img?title=myVacationPhotoFromItaly", "https://cdn/img?title=myVacationPhotoFromSpain"),
        ("https://cdn/img?at=1700000000", "https://cdn/img?at=1700000001"),
        ("https://cdn/img?w=300&sig=a", "https://cdn/img?w=301&sig=a"),
        ("https://cdn/img?fileId=a1B2c3D4e5F6a7B8c9D0&sig=a", "https://cdn/img?fileId=a1B2c3D4e5F6a7B8c9D1&sig=a"),
        ("https://cdn/a.png?x-amz-version-id=1", "https://cdn/a.png?x-amz-version-id=2"),
        ("https://cdn/a.png", "https://cdn/A.png"),
        ("https://cdn/a%2Fb.png", "https://cdn/a/b.png"),
        ("https://cdn/a.png", "http://cdn/a.png"),
        ("https://cdn/a.png", "https://cdn:8443/a.png"),
        ("https://p/?url=https%3A%2F%2Fcdn%2Fa.png%3Fsig%3Da", "https://p/?url=https%3A%2F%2Fcdn%2Fb.png%3Fsig%3Da"),
        ("s3://bucket/a?id=1", "s3://bucket/a?id=2"),
        ("s3://bucket/a#b?.png", "s3://bucket/a"),
        ("https://cdn/a.png is the style; shot #1", "https://cdn/a.png is the style; shot #2"),
    ],
)
def test_two_files_are_told_apart(one: str, other: str) -> None:
    assert file_identity(one) != file_identity(other)
    assert fingerprint_of({"input": {"img_url": one}}) != fingerprint_of({"input": {"img_url": other}})


@pytest.mark.parametrize(
    "other",
    [
        "HTTPS://CDN.example/a%2Fb/mug.png?x=1&v=2",
        "https://user:password@cdn.example/a%2Fb/mug.png?x=1&v=2",
        "https://token@cdn.example:443/a%2fb/mug.png?v=2&x=1".replace("2fb", "2Fb"),
        "https://cdn.example/a%2Fb/%6Dug%2Epng?x=1&v=2#part",
        "https://cdn.example/a%2Fb/mug.png?%78=%31&v=2&X%2DAmz%2DSignature=abc",
        "https://cdn.example/a%2Fb/mug.png?x=1&&v=2&",
        "https://cdn.example/bcdn_token=8f14e45fceea167a5a36dedd4bea2543&expires=1700000000/a%2Fb/mug.png?x=1&v=2",
    ],
)
def test_one_file_may_be_written_in_many_ways(other: str) -> None:
    assert file_identity(other) == "https://cdn.example/a%2Fb/mug.png?v=2&x=1"


def test_a_signature_in_the_path_is_not_shown() -> None:
    signed = "bcdn_token=8f14e45fceea167a5a36dedd4bea2543&expires=1700000000"
    address = f"https://cdn.example/{signed}/mug.png"

    assert redact(address) == shareable(address) == "https://cdn.example/…/mug.png"
    assert list(secrets_in([address])) == [signed]


PIECES = st.sampled_from(
    ["https://", "HTTP://", "h", "/", "?", "#", "&", "=", "%", "%25", "%41", "@", ":", "id", "sig="]
)
ANYTHING = st.lists(PIECES | st.text(max_size=5)).map("".join)


@given(ANYTHING, st.sampled_from(["", "https://host/a?"]))
def test_an_identity_is_its_own(text: str, start: str) -> None:
    assert file_identity(file_identity(start + text)) == file_identity(start + text)


@pytest.mark.parametrize(
    "piece", ["a=https://b?", "a=https%3A%2F%2Fb%3F", "&a=1", "/a=8f14e45fceea167a5a3", "aA1", "%41", "="]
)
@pytest.mark.parametrize("function", [file_identity, is_signed, redact])
def test_a_long_address_is_read(piece: str, function: Callable[[str], object]) -> None:
    assert function("https://host/?" + piece * 5000) is not None
    assert function("https://host/" + piece * 5000) is not None
