"""The page of one video: it plays and seeks, tells what is known, and shows what goes on without being loaded anew."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from page_stage import HOSTILE, LONG, RAP
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from page_stage import Stage
    from playwright.sync_api import Page

PLAYED = "() => document.querySelector('video.player').currentTime > 0.3"
PAUSED = "() => document.querySelector('video.player').paused"
TIME = "() => document.querySelector('video.player').currentTime"


@pytest.mark.parametrize(("run", "task_id"), [("disk", "rap"), ("bucket", "film")])
def test_a_video_on_a_disk_or_in_a_bucket_plays_and_seeks(
    stage: Stage, look: Callable[..., Page], run: str, task_id: str
) -> None:
    page = look("about:blank")
    answers: list[Any] = []
    page.on("response", lambda one: answers.append(one))  # noqa: PLW0108 - Playwright takes no built-in
    page.goto(stage.runs[run].page(task_id))
    player = page.locator("video.player")
    expect(player).to_be_visible()
    page.wait_for_function("() => document.querySelector('video.player').readyState >= 1")

    page.keyboard.press("Space")
    page.wait_for_function(PLAYED)
    page.keyboard.press("Space")
    page.wait_for_function(PAUSED)
    before = page.evaluate(TIME)
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"() => !document.querySelector('video.player').seeking && ({TIME})() > {before} + 0.5")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"() => !document.querySelector('video.player').seeking && ({TIME})() < {before} + 0.1")

    video = player.get_attribute("src")
    assert {answer.status for answer in answers if answer.url.endswith(str(video))} == {206}


def test_a_seek_to_the_end_of_a_video_asks_for_that_part_only(stage: Stage, look: Callable[..., Page]) -> None:
    page = look(stage.runs["disk"].page("rap"))
    address = page.locator("video.player").get_attribute("src")

    answer = page.request.get(address, headers={"Range": "bytes=-100"})

    assert answer.status == 206
    assert len(answer.body()) == 100
    assert answer.headers["content-type"] == "video/mp4"


def test_all_that_is_known_of_a_video_is_on_its_page(stage: Stage, look: Callable[..., Page]) -> None:
    page = look(stage.runs["disk"].page("rap"))

    expect(page.locator("h1")).to_have_text("rap")
    expect(page.locator("#prompt")).to_have_text(RAP)
    facts = page.locator("#facts").inner_text()
    for fact in ("wan2.7-i2v", "720P", "5 s", "with sound", "20260817", "$0.5", "SHA-256", "Queued", "rap.mp4"):
        assert fact in facts
    expect(page.locator("#recipe")).to_contain_text("WanGenerateVideoOperator(")
    poster = page.locator("video.player").get_attribute("poster")
    assert page.request.get(str(poster)).headers["content-type"] == "image/jpeg"
    # The files that the video was made of.
    picture = page.get_by_role("img", name="First frame: rap.png")
    expect(picture).to_be_visible()
    page.wait_for_function("() => document.querySelector('.inputs img').naturalWidth > 0")
    expect(page.locator(".inputs audio")).to_have_attribute("aria-label", "Driving audio: rap.wav")


def test_a_path_and_a_recipe_can_be_copied(stage: Stage, look: Callable[..., Page]) -> None:
    page = look(stage.runs["disk"].page("rap"))

    for name, copied in (("Path", str(stage.folder / "videos" / "rap.mp4")), ("Make this video again", None)):
        button = page.get_by_role("button", name=f"Copy: {name}")
        button.click()
        expect(button).to_have_text("Copied")
        text = page.evaluate("() => navigator.clipboard.readText()")
        assert text == copied if copied else "WanGenerateVideoOperator(" in text


def test_a_page_that_waits_shows_the_video_without_being_loaded_anew(stage: Stage, look: Callable[..., Page]) -> None:
    run = stage.start("slow_clip", videos=str(stage.folder / "videos" / str(time.time())))
    page = look(run.page("film"))
    page.evaluate("() => { window.stayed = true }")
    expect(page.locator("#head .badge")).to_have_text("Waiting")
    expect(page.locator("#stage")).to_contain_text("The gateway is making the video")
    expect(page.locator("#stage [data-since]")).to_contain_text("s")
    expect(page.locator("#prompt")).to_have_text("A lamp in the rain.")

    stage.slow.advance_clock(3 * 1800)

    expect(page.locator("video.player")).to_be_visible(timeout=120_000)
    expect(page.locator("#head .badge")).to_have_text("Done")
    assert page.evaluate("() => window.stayed") is True
    assert page.evaluate("() => document.body.dataset.refreshS") == ""


def test_a_failed_task_says_what_happened_and_what_it_cost(stage: Stage, look: Callable[..., Page]) -> None:
    page = look(stage.runs["refused"].page("film"))

    failure = page.locator(".notice.is-failed")
    expect(failure).to_contain_text("DataInspectionFailed")
    expect(failure.locator("dt", has_text="Billed").locator("+ dd")).to_have_text("No")
    expect(failure).to_contain_text("VideoTaskFailed")
    expect(failure.locator("dt", has_text="What to do").locator("+ dd")).not_to_be_empty()
    expect(page.locator("#head .badge")).to_have_text("Failed")


def test_a_rejected_file_can_be_looked_at_and_is_marked(stage: Stage, look: Callable[..., Page]) -> None:
    page = look(stage.runs["rejected"].page("film"))

    expect(page.locator("#head .badge")).to_have_text("Rejected")
    expect(page.locator(".notice.is-warning")).to_contain_text("This file was rejected")
    expect(page.locator(".notice.is-failed")).to_contain_text("7 s")
    page.wait_for_function("() => document.querySelector('video.player').readyState >= 1")
    page.locator("video.player").focus()
    page.keyboard.press("Space")
    page.wait_for_function(PLAYED)


def test_a_file_outside_the_allowed_folders_is_not_shown_and_the_page_says_what_to_set(
    stage: Stage, look: Callable[..., Page]
) -> None:
    page = look(stage.runs["outside"].page("film"))

    expect(page.locator("#stage")).to_contain_text("[wan] preview_bases")
    expect(page.locator("video")).to_have_count(0)
    expect(page.locator("#path")).to_have_text(str(stage.folder / "outside" / "lighthouse.mp4"))


def test_a_prompt_is_text_whatever_stands_in_it(stage: Stage, look: Callable[..., Page]) -> None:
    page = look(stage.runs["hostile"].page("film"))

    # What would turn the direction of all text behind it is not left in a record.
    assert page.locator("#prompt").text_content() == re.sub(r"[\u202a-\u202e]", "\ufffd", LONG)
    assert "taken over" not in page.title()
    expect(page.locator("#prompt *")).to_have_count(0)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    page.goto("/wan/gallery?text=" + "dlrow")
    assert HOSTILE[:60] in str(page.locator(".tile .prompt").first.text_content())
    expect(page.locator(".tile .prompt *")).to_have_count(0)
