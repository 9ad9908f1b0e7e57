from __future__ import annotations

from typing import Any

import pytest

from airflow_wan.api.catalogue import find_model
from airflow_wan.api.gateways import APIYI, DASHSCOPE, Gateway
from airflow_wan.api.media_items import MediaReference, list_references, media_problems, read_items, url_problems
from airflow_wan.api.rules import MediaKind, Model

IMAGE = "https://your-cdn.com/rap.png"
VOICE = "https://your-cdn.com/voice.mp3"
PUBLIC = "https://api.apiyi.com"


def items(types: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"type": media_type, "url": IMAGE} | fields for media_type in types.split()]


def row(model: str, gateway: Gateway = DASHSCOPE) -> Model:
    found = find_model(model, gateway.name)
    assert found
    return found


def url_problem(
    url: Any, role: str = "first_frame", base_url: str = PUBLIC, *, http_allowed: bool = False
) -> str | None:
    return next(url_problems([MediaReference(role, url)], base_url, http_allowed=http_allowed), None)


# Items ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("media", [IMAGE, items("first_frame")[0], 7, {IMAGE}, iter(items("first_frame"))])
def test_media_that_are_no_list_are_refused(media: Any) -> None:
    problems: list[str] = []

    assert read_items(media, problems) == []
    assert problems[0].startswith("media must be a list")


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"type": "first_frame"},
        {"url": IMAGE},
        {"type": "first_frame", "url": None},
        {"type": "", "url": IMAGE},
        *({"type": wrong, "url": IMAGE} for wrong in (["first_frame"], {}, 1, ("a",), {"x"})),
        *("x", None, 3),
    ],
)
def test_an_item_without_a_type_or_a_url_is_refused_by_its_place(broken: Any) -> None:
    problems: list[str] = []

    assert read_items([*items("first_frame"), broken], problems) == items("first_frame")
    (problem,) = problems
    assert problem.startswith("media[1]")


@pytest.mark.parametrize(
    ("model", "types", "facts"),
    [
        ("wan2.7-t2v", "first_frame", ["'first_frame'", "no media"]),
        ("wan2.7-i2v", "first_frame frist_frame", ["'frist_frame'", "driving_audio, first_clip, first_frame"]),
        ("happyhorse-1.1-i2v", "first_frame driving_audio", ["'driving_audio'", "use wan2.7-i2v"]),
        ("wan2.7-i2v", "first_frame first_frame", ["at most one first_frame", "got 2"]),
        ("wan2.7-i2v", "first_frame driving_audio driving_audio driving_audio", ["one driving_audio", "got 3"]),
        ("wan2.7-r2v", "first_frame", ["1 to 5 reference_image and reference_video together", "got 0"]),
        ("wan2.7-videoedit", "reference_image", ["exactly 1 video", "got 0"]),
        ("wan2.6-r2v", "reference_video " * 4, ["0 to 3 reference_video", "got 4"]),
        ("wan2.7-i2v", "", ["first_frame; first_frame + driving_audio; ", "Got no media"]),
        ("wan2.7-i2v", "driving_audio last_frame", ["first_clip + last_frame.", "Got driving_audio + last_frame"]),
        ("wan3.0-video", "first_frame file reference_image", ["first_frame cannot", "with file and reference_image"]),
    ],
)
def test_media_that_break_a_rule_of_the_model_are_refused_with_the_rule(
    model: str, types: str, facts: list[str]
) -> None:
    (problem,) = media_problems(model, row(model), items(types))

    for fact in facts:
        assert fact in problem


def test_the_order_of_the_media_does_not_matter() -> None:
    model = row("wan2.7-i2v")

    for combination in model.media.sets:
        assert media_problems("wan2.7-i2v", model, items(" ".join(sorted(combination, reverse=True)))) == []


@pytest.mark.parametrize(
    ("model", "media_type", "field", "allowed"),
    [
        ("wan2.7-r2v", "reference_image", "reference_voice", True),
        ("wan2.6-r2v", "reference_image", "reference_voice", False),
        ("wan2.7-i2v", "first_frame", "reference_voice", False),
        ("wan2.7-r2v", "reference_image", "weight", False),
    ],
)
def test_an_item_has_no_other_fields_than_its_own(model: str, media_type: str, field: str, allowed: bool) -> None:
    problems = media_problems(model, row(model), items(media_type, **{field: VOICE}))

    assert [(media_type in problem, field in problem) for problem in problems] == ([] if allowed else [(True, True)])


# Files ---------------------------------------------------------------------------------------------------------------


def test_every_file_is_listed_with_its_kind_and_its_limits() -> None:
    model = row("wan2.7-r2v")
    media = [*items("reference_image", reference_voice=VOICE), *items("reference_video link")]

    references = list_references(media, VOICE, model)

    assert [(reference.role, reference.kind) for reference in references] == [
        ("reference_image", MediaKind.IMAGE),
        ("reference_voice", MediaKind.AUDIO),
        ("reference_video", MediaKind.VIDEO),
        ("link", MediaKind.OTHER),
        ("audio_url", MediaKind.AUDIO),
    ]
    limited = ("reference_image", "reference_voice", "reference_video")
    assert [reference.limits for reference in references] == [*(model.limits[role] for role in limited), None, None]
    assert references[1].url == VOICE


@pytest.mark.parametrize(
    ("urls", "fact"),
    [
        (["http://your-cdn.com/rap.png", "https://", "https:///rap.png", "//your-cdn.com/rap.png"], "public https://"),
        (["rap.png", "./a.png", "~", "~x/a.png", "s3:/bucket", "s3://", "file:///", "ftp://h/a", "C:/a"], "absolute"),
        (
            [
                f"https://{host}/rap.png"
                for host in ("localhost", "127.0.0.1", "10.1.2.3", "192.168.0.5", "169.254.169.254", "[::1]")
            ],
            "not reachable",
        ),
        (["https://[fd00::1]/rap.png", "https://0.0.0.0/rap.png"], "not reachable"),
        ([f"https://your-cdn.com/{name}" for name in ("中文.png", "a b.png", "a\n.png", "a\0.png")], "percent-encoded"),
        (["https://[your-cdn.com/rap.png", "https://your-cdn.com:99999/rap.png"], "not a valid URL"),
        (["http://127.0.0.1:9000/rap.png"], "public https://"),
        (["data:text/plain;base64,SUQz", "data:image/png,raw"], "data URI"),
        ([7, None, ["x"]], "not a URL"),
    ],
)
def test_a_file_that_no_gateway_could_get_is_refused_by_its_role_and_value(urls: list[Any], fact: str) -> None:
    for url in urls:
        problem = url_problem(url)

        assert problem
        assert problem.startswith(f"first_frame: {url!r} ")
        assert fact in problem


@pytest.mark.parametrize(
    "url",
    [
        "https://your-cdn.com/rap.png",
        *("s3://bucket/a.png", "S3://bucket/a.png", "gs://bucket/a.png"),
        *("/data/a.png", "/data/中文 a.png", "~/a.png", "file:///a.png"),
        "data:image/png;base64,iVBORw0KGgo=",
    ],
)
def test_a_public_url_a_file_a_stored_object_or_an_inline_image_passes(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize("uri", ["data:audio/mpeg;base64,SUQz", "data:image/png;base64,SUQz"])
def test_only_an_image_may_be_a_data_uri(uri: str) -> None:
    assert "only images" in str(url_problem(uri, "driving_audio"))


@pytest.mark.parametrize("role", ["file", "link"])
def test_documents_and_pages_must_be_on_the_web(role: str) -> None:
    for url in ("/data/story.pdf", "s3://bucket/story.pdf", "data:application/pdf;base64,SUQz"):
        assert url_problem(url, role)
    assert url_problem("https://your-cdn.com/story", role) is None


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8765", "http://localhost:8765", "http://[::1]:8765"])
def test_an_emulator_on_loopback_may_get_files_over_http_from_loopback_only(base_url: str) -> None:
    for host in ("127.0.0.1:9000", "localhost", "[::1]:9000"):
        assert url_problem(f"http://{host}/rap.png", base_url=base_url) is None
    for url in ("http://your-cdn.com/rap.png", "http://10.0.0.1/rap.png", "data/rap.png"):
        assert "public https://" in str(url_problem(url, base_url=base_url))


def test_a_message_shows_neither_signatures_nor_megabytes() -> None:
    signed = "http://bucket.oss-cn-beijing.aliyuncs.com/a.png?Expires=1&Signature=TOPSECRET"

    problem = str(url_problem(signed))

    assert "TOPSECRET" not in problem
    assert "a.png?…" in problem
    assert len(str(url_problem("data:audio/wav;base64," + "A" * 1_000_000, "driving_audio"))) < 300


def test_apiyi_and_dashscope_take_the_same_media_of_wan27_i2v() -> None:
    assert row("wan2.7-i2v", APIYI).media == row("wan2.7-i2v", DASHSCOPE).media
