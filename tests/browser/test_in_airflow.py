"""The pages inside Airflow's own web interface: their tabs, their links, and Airflow's theme and language."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from page_stage import HOSTILE
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from page_stage import Stage
    from playwright.sync_api import Page

NARROW_PX = 390
# The contrast that WCAG 2.2 asks for between small text and what is behind it (1.4.3, level AA).
LEAST_CONTRAST = 4.5
# Draws each colour on a pixel, because a computed colour may be in any colour space.
CONTRASTS = """() => {
  const pixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (colours) => {
    pixel.clearRect(0, 0, 1, 1);
    for (const colour of colours) { pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1); }
    const linear = [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const found = {};
  for (const node of document.querySelectorAll("main *")) {
    if (![...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim())) continue;
    if (!node.checkVisibility() || node.closest(".frame, option, title")) continue;
    const behind = [];
    for (let one = node; one; one = one.parentElement) behind.unshift(getComputedStyle(one).backgroundColor);
    const [low, high] = [paint(behind), paint([...behind, getComputedStyle(node).color])].sort((a, b) => a - b);
    found[`${node.tagName} ${node.className} ${node.textContent.trim().slice(0, 30)}`] = (high + 0.05) / (low + 0.05);
  }
  return found;
}"""


def pages(stage: Stage) -> dict[str, str]:
    return {
        "video": stage.runs["disk"].page("rap"),
        "failed": stage.runs["refused"].page("film"),
        "rejected": stage.runs["rejected"].page("film"),
        "hostile": stage.runs["hostile"].page("film"),
        "sheet": stage.runs["mapped"].sheet,
        "gallery": "/wan/gallery",
        "nothing": stage.runs["mapped"].page("no_such_task"),
    }


def test_airflow_shows_the_video_in_a_tab_of_the_task(stage: Stage, look: Callable[..., Page]) -> None:
    page = look(f"{stage.runs['disk'].in_airflow}/tasks/rap")

    page.get_by_role("link", name="Video", exact=True).click()

    frame = page.frame_locator("iframe")
    expect(frame.locator("video.player")).to_be_visible()
    expect(frame.locator("h1")).to_have_text("rap")


def test_airflow_shows_the_tab_of_a_mapped_task(stage: Stage, look: Callable[..., Page]) -> None:
    page = look(f"{stage.runs['mapped'].in_airflow}/tasks/animate/mapped/1")

    page.get_by_role("link", name="Video", exact=True).click()

    expect(page.frame_locator("iframe").locator("h1")).to_have_text("lamp")


def test_links_lead_from_the_menu_to_a_run_and_to_its_task_in_airflow(stage: Stage, look: Callable[..., Page]) -> None:
    page = look("/")
    loads: list[str] = []
    page.on("request", lambda one: loads.append(one.url) if one.is_navigation_request() else None)
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="Videos").click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name="mug", exact=True).click()
    frame.get_by_role("link", name="All videos of this run").click()
    expect(frame.locator(".tile")).to_have_count(3)
    frame.get_by_role("link", name="Run in Airflow").click()

    page.wait_for_url(f"**{stage.runs['mapped'].in_airflow}")
    page.get_by_role("link", name="Videos", exact=True).click()
    expect(page.frame_locator("iframe").locator(".tile")).to_have_count(3)
    kinds = [urlsplit(address).path.split("/")[2] for address in loads if urlsplit(address).path.startswith("/wan/")]
    assert kinds == ["gallery", "video", "sheet", "sheet"]  # each is loaded once


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_wear_airflows_theme_and_every_text_can_be_read(
    stage: Stage, look: Callable[..., Page], theme: str
) -> None:
    # The system asks for the other theme: what is chosen in Airflow counts.
    other = {"light": "dark", "dark": "light"}[theme]
    page = look("/wan/gallery", stored={"theme": theme}, theme=other)
    for name, address in pages(stage).items():
        page.goto(address)
        shade = page.evaluate("() => Number(getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/)[0])")
        assert (shade > 0.9 or shade > 200) == (theme == "light"), name
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 2
        assert {text: one for text, one in contrasts.items() if one < LEAST_CONTRAST} == {}, name


def test_a_change_of_airflows_theme_reaches_an_open_page(stage: Stage, look: Callable[..., Page]) -> None:
    page = look("/wan/gallery")
    other = page.context.new_page()
    other.goto("/wan/gallery")

    other.evaluate("() => localStorage.setItem('theme', 'dark')")

    page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")


def test_without_a_choice_in_airflow_the_system_decides_on_the_theme(stage: Stage, look: Callable[..., Page]) -> None:
    page = look("/wan/gallery", theme="dark")

    assert page.evaluate("() => matchMedia('(prefers-color-scheme: dark)').matches")
    assert page.evaluate("() => document.documentElement.dataset.theme") is None


def test_every_page_fits_a_phone(stage: Stage, look: Callable[..., Page]) -> None:
    page = look("/wan/gallery", width=NARROW_PX)
    for name, address in pages(stage).items():
        page.goto(address)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= NARROW_PX, name
        for box in page.locator("button:visible, a.button:visible, video.player").all():
            place = box.bounding_box()
            assert place, name
            assert place["x"] >= 0, name
            assert place["x"] + place["width"] <= NARROW_PX, name


def test_a_reader_who_wants_little_motion_sees_none(stage: Stage, look: Callable[..., Page]) -> None:
    page = look(stage.runs["mapped"].sheet, reduced_motion="reduce")

    animations = "() => [...document.querySelectorAll('*')].map((one) => getComputedStyle(one).animationName)"
    assert set(page.evaluate(animations)) == {"none"}


def test_every_picture_player_and_button_has_a_name(stage: Stage, look: Callable[..., Page]) -> None:
    page = look("/wan/gallery")
    unnamed = """() => [...document.querySelectorAll("button, a, input, select, video, audio, img, svg")]
        .filter((one) => !one.closest("[aria-hidden=true]") && !one.getAttribute("aria-label") && !one.labels?.length)
        .filter((one) => !one.textContent.trim() && one.getAttribute("alt") === null)
        .map((one) => one.outerHTML)"""
    for name, address in pages(stage).items():
        page.goto(address)
        assert page.evaluate(unnamed) == [], name
        assert page.locator("h1").count() == 1, name
        assert page.title(), name


@pytest.mark.parametrize(
    ("stored", "locale", "lang"),
    [
        ({"i18nextLng": "zh-CN"}, "en-US", "zh-CN"),
        ({"i18nextLng": "en"}, "zh-CN", "en"),
        ({"i18nextLng": "de"}, "zh-CN", "en"),
        (None, "zh-CN", "zh-CN"),
        (None, "de-DE", "en"),
    ],
)
def test_the_pages_speak_airflows_language(
    stage: Stage, look: Callable[..., Page], stored: dict[str, str] | None, locale: str, lang: str
) -> None:
    page = look("/wan/gallery", stored=stored, locale=locale)

    expect(page.locator("html")).to_have_attribute("lang", lang)
    expect(page.locator("h1")).to_have_text({"en": "Videos", "zh-CN": "视频"}[lang])
    page.goto(stage.runs["refused"].page("film"))
    expect(page.locator("#failed-title")).to_have_text({"en": "What happened", "zh-CN": "发生了什么"}[lang])


def test_times_are_those_of_the_zone_chosen_in_airflow(stage: Stage, look: Callable[..., Page]) -> None:
    page = look("/wan/gallery?dag_id=rap_portrait", stored={"timezone": '"Asia/Shanghai"'})

    time = page.locator(".tile time").first
    shown, utc = time.inner_text(), str(time.get_attribute("title"))

    assert (int(shown[11:13]) - int(utc[11:13])) % 24 == 8


def test_a_hostile_prompt_does_nothing_in_a_search_either(stage: Stage, look: Callable[..., Page]) -> None:
    page = look("/wan/gallery")
    page.get_by_label("Prompt").fill(HOSTILE)
    page.keyboard.press("Enter")
    page.wait_for_url("**/gallery?**")

    assert page.get_by_label("Prompt").input_value() == HOSTILE.strip()
    assert page.title() == "Videos"
