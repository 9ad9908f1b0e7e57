"""What signs a URL is hidden, and does not make two requests different."""

from __future__ import annotations

import pytest

from airflow_wan.purchases.record import fingerprint_of
from airflow_wan.redaction import signed_queries, unsigned_body, without_signature


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://b.s3.amazonaws.com/a.png?X-Amz-Signature=abc&X-Amz-Expires=60", "https://b.s3.amazonaws.com/a.png"),
        ("https://b.oss-cn-beijing.aliyuncs.com/a.png?Expires=1&OSSAccessKeyId=k&Signature=s", None),
        ("https://storage.googleapis.com/b/a.png?X-Goog-Signature=s", "https://storage.googleapis.com/b/a.png"),
        ("https://x.blob.core.windows.net/c/a.png?sv=2024&se=2026&sr=b&sp=r&sig=s", None),
        ("https://cdn.example.com/a.png?v=2", "https://cdn.example.com/a.png?v=2"),
        ("https://cdn.example.com/a.png", "https://cdn.example.com/a.png"),
    ],
)
def test_a_url_is_told_from_its_signature(url: str, bare: str | None) -> None:
    assert without_signature(url) == (bare or url.partition("?")[0])


def test_signed_queries_are_found_wherever_they_are() -> None:
    signed = "https://b.s3.amazonaws.com/a.png?X-Amz-Signature=abc"
    fields = ["a prompt? yes", [{"type": "first_frame", "url": signed}], {"seed": 7}, "https://cdn.example.com/b?v=2"]

    assert list(signed_queries(fields)) == ["X-Amz-Signature=abc"]


def test_a_fingerprint_changes_with_what_the_request_asks_for_and_not_with_its_signatures() -> None:
    def body(url: str) -> dict[str, object]:
        return {"model": "wan2.7-i2v", "input": {"prompt": "x", "media": [{"type": "first_frame", "url": url}]}}

    first = fingerprint_of(body("https://cdn.example.com/a.png?id=1&Signature=a"))

    assert first == fingerprint_of(body("https://cdn.example.com/a.png?Signature=b&id=1"))
    assert first != fingerprint_of(body("https://cdn.example.com/a.png?id=2&Signature=a"))
    assert first != fingerprint_of(body("https://cdn.example.com/b.png?id=1&Signature=a"))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://user:secret@cdn.example.com/a.png?Signature=s#f", "https://cdn.example.com/a.png"),
        ("https://user:secret@cdn.example.com/a@b.png", "https://cdn.example.com/a@b.png"),
        ("https://cdn.example.com/a.png", "https://cdn.example.com/a.png"),
        ("s3://aws@bucket/a.png?versionId=1", "s3://aws@bucket/a.png"),
        ("s3://aws@bucket/a.png", "s3://aws@bucket/a.png"),
        ("Look at https://cdn.example.com/?a=b and go", "Look at https://cdn.example.com/?a=b and go"),
    ],
)
def test_what_is_kept_of_a_request_has_no_signature_and_no_password(text: str, kept: str) -> None:
    assert unsigned_body({"input": {"media": [{"url": text}]}}) == {"input": {"media": [{"url": kept}]}}
