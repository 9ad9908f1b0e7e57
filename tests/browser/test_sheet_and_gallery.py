"""The contact sheet of a run, and the gallery of all videos."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from page_stage import Stage
    from playwright.sync_api import Page


def names(page: Page) -> list[str]:
    return page.locator(".tile .title a").all_inner_texts()


def test_a_mapped_run_has_every_video_on_its_sheet(stage: Stage, look: Callable[..., Page]) -> None:
    page = look(stage.runs["mapped"].sheet)

    assert names(page) == ["mug", "lamp", "chair"]
    assert page.locator(".tile .badge").all_inner_texts() == ["Done", "Done", "Failed"]
    sums = dict(
        zip(page.locator(".sums dt").all_inner_texts(), page.locator(".sums dd").all_inner_texts(), strict=True)
    )
    assert (sums["Videos"], sums["Done"], sums["Failed"], sums["Length in all"]) == ("3", "2", "1", "4 s")
    expect(page.locator(".tile").nth(2)).to_contain_text("inappropriate content")


def test_a_sheet_loads_posters_and_plays_a_video_when_it_is_pressed(stage: Stage, look: Callable[..., Page]) -> None:
    page = look("about:blank")
    asked: list[Any] = []
    page.on("request", lambda one: asked.append(one))  # noqa: PLW0108 - Playwright takes no built-in
    page.goto(stage.runs["mapped"].sheet)
    page.wait_for_function("() => [...document.querySelectorAll('.tile img')].every((one) => one.naturalWidth > 0)")
    assert [one.url for one in asked if one.resource_type == "media"] == []

    page.get_by_role("link", name="Play: lamp").click()

    page.wait_for_function("() => document.querySelector('.tile video')?.currentTime > 0.3")
    played = {one.url for one in asked if one.resource_type == "media"}
    assert len(played) == 1


def test_the_keyboard_goes_through_a_sheet(stage: Stage, look: Callable[..., Page]) -> None:
    page = look(stage.runs["mapped"].sheet)
    key = "() => document.activeElement.getAttribute('aria-label')"
    page.get_by_role("link", name="Play: mug").focus()

    page.keyboard.press("ArrowRight")
    assert page.evaluate(key) == "Play: lamp"
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('.tile video')?.currentTime > 0.2")
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('.tile video').paused")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(key) == "Play: mug"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(page.locator(".tile video")).to_have_count(0)
    page.keyboard.press("ArrowRight")
    assert page.evaluate(key) == "Open: chair"
    page.keyboard.press("Enter")
    page.wait_for_url("**/wan/video/product_clips/**/2")


def test_the_gallery_shows_the_newest_first_and_what_was_spent(stage: Stage, look: Callable[..., Page]) -> None:
    page = look("/wan/gallery")

    # Runs begin one after the other, and the time is a part of a run's id.
    runs = page.locator(".tile .title a").evaluate_all("all => all.map((one) => one.href.split('/').at(-3))")
    assert len(runs) >= 9
    assert runs == sorted(runs, reverse=True)
    month = page.locator(".spending dt", has_text="Spent this month").locator("xpath=..").locator("dd")
    assert float(month.inner_text().removeprefix("$")) > 1
    assert page.locator("svg.chart rect").count() >= 3
    page.get_by_text("Show as a table").click()
    assert "rap_portrait" in page.locator("table").inner_text()


@pytest.mark.parametrize(
    ("choices", "found"),
    [
        ({"DAG": "rap_portrait"}, {"rap"}),
        ({"DAG": "product_clips", "State": "Failed"}, {"chair"}),
        ({"Model": "wan2.7-t2v", "State": "Done"}, {"film"}),
        ({"State": "Failed"}, {"chair", "film"}),
    ],
)
def test_the_gallery_can_be_narrowed(
    stage: Stage, look: Callable[..., Page], choices: dict[str, str], found: set[str]
) -> None:
    page = look("/wan/gallery")

    for label, choice in choices.items():
        page.get_by_role("combobox", name=label).select_option(label=choice)
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**/gallery?**")

    assert set(names(page)) == found
    for label, choice in choices.items():
        chosen = page.get_by_role("combobox", name=label).locator("option:checked")
        expect(chosen).to_have_text(choice)


def test_the_gallery_finds_text_in_prompts_and_days(stage: Stage, look: Callable[..., Page]) -> None:
    page = look("/wan/gallery")
    page.get_by_label("Prompt").fill("喷漆")
    page.keyboard.press("Enter")
    page.wait_for_url("**/gallery?**")
    assert names(page) == ["rap"]

    page.get_by_role("link", name="Clear").click()
    page.wait_for_url("**/gallery")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    page.get_by_label("From (UTC)").fill(tomorrow)
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(".empty")).to_have_text("No video matches these filters")


def test_older_videos_are_on_the_next_page_of_what_was_chosen(stage: Stage, look: Callable[..., Page]) -> None:
    page = look("/wan/gallery?dag_id=archive")
    newest = names(page)

    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**/gallery?**page=**")

    older = names(page)
    assert (len(newest), len(older)) == (30, 5)
    assert {*newest, *older} == {f"film_{number:02}" for number in range(35)}
    expect(page.get_by_role("combobox", name="DAG").locator("option:checked")).to_have_text("archive")
    expect(page.get_by_role("link", name="Older")).to_have_count(0)


def test_a_tile_leads_to_the_page_of_its_video(stage: Stage, look: Callable[..., Page]) -> None:
    page = look("/wan/gallery?dag_id=rap_portrait")

    page.locator(".tile .title a").click()

    expect(page.locator("video.player")).to_be_visible()
