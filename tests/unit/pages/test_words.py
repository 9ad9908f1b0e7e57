"""The pages say the same in both languages, and nothing is said that no page asks for."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING

import pytest

from airflow_wan import pages
from airflow_wan.pages.words import LANGUAGES, WORDS, Words, choose_language

if TYPE_CHECKING:
    from collections.abc import Mapping

TEMPLATES = "\n".join(path.read_text() for path in (Path(pages.__file__).parent / "templates").glob("*.html"))
# Keys that a page puts together, such as "state_" and the state.
COMPOSED = re.findall(r"_\('(\w+_)' ~", TEMPLATES)


def places(words: Mapping[str, str]) -> dict[str, set[str]]:
    return {key: {name for _, name, _, _ in Formatter().parse(text) if name} for key, text in words.items()}


def test_both_languages_have_all_keys_with_the_same_places() -> None:
    assert set(WORDS) == set(LANGUAGES) == {"en", "zh"}
    assert places(WORDS["zh"]) == places(WORDS["en"])


def test_chinese_words_are_chinese() -> None:
    unchanged = {key for key, text in WORDS["zh"].items() if not re.search(r"[\u4e00-\u9fff]", text)}

    assert unchanged <= {"dag"}


def test_every_key_of_a_page_has_words() -> None:
    asked = set(re.findall(r"_\('(\w+)'[,)]", TEMPLATES)) | set(re.findall(r"_\('(\w+)' if", TEMPLATES))

    assert len(asked) > 60
    assert asked <= set(WORDS["en"])
    assert [prefix for prefix in COMPOSED if not any(key.startswith(prefix) for key in WORDS["en"])] == []


def test_every_words_key_is_asked_for() -> None:
    unasked = {key for key in WORDS["en"] if f"'{key}'" not in TEMPLATES and not key.startswith(tuple(COMPOSED))}

    assert unasked == set()


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [
        ("zh", "en-US", "zh"),
        ("en", "zh-CN", "en"),
        (None, "zh-TW,en;q=0.8", "zh"),
        (None, "de-DE,de;q=0.9,zh;q=0.5", "zh"),
        (None, "de", "en"),
        (None, None, "en"),
        ("../../etc", "", "en"),
    ],
)
def test_the_language_is_airflows_own_or_the_browsers(cookie: str | None, accepted: str | None, language: str) -> None:
    assert choose_language(cookie, accepted).language == language


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (4.24, "4.2 s"), (9.97, "10 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_a_duration_is_short_and_has_its_unit(seconds: float, text: str) -> None:
    assert Words("en").long(seconds) == text


@pytest.mark.parametrize(
    ("usd", "text"), [(0, "$0.00"), (0.084, "$0.084"), (0.42, "$0.42"), (1.2, "$1.20"), (1234.5, "$1,234.50")]
)
def test_an_amount_has_its_cents(usd: float, text: str) -> None:
    assert Words("en").usd(usd) == text
    assert Words("zh").usd(usd, about=True) == f"~{text}"


def test_a_video_length_keeps_its_hundredths() -> None:
    assert Words("en").seconds(5.04) == "5.04 s"
    assert Words("en").seconds(10.0) == "10 s"
    assert Words("zh").seconds(5) == "5 秒"
