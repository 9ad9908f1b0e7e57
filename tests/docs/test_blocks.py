"""No block of the documentation is left out: each is run by the tests beside this one, or says why not."""

from __future__ import annotations

import configparser
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from documentation import (
    JSON,
    NO_CODE,
    PYTHON,
    REPOSITORY,
    SETTINGS,
    SHELL,
    Block,
    blocks,
    links_of,
    number_of_marks,
    pages,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_NOT_RUN = 5


def test_every_block_has_a_language_that_is_run_or_is_no_code() -> None:
    known = {PYTHON, SHELL, SETTINGS, JSON, *NO_CODE}

    assert [f"{block}: {block.language!r}" for block in blocks() if block.language not in known] == []


def test_few_blocks_are_not_run_and_each_says_why(count: Callable[..., None]) -> None:
    not_run = [block for block in blocks(PYTHON, SHELL) if "not run" in block.marks]

    assert len(not_run) <= MOST_NOT_RUN, "\n".join(f"{block}: {block.marks['not run']}" for block in not_run)
    assert len(blocks(PYTHON, SHELL)) > 40
    count(blocks_not_run=len(not_run))


def test_every_mark_stands_before_a_block() -> None:
    assert sum(map(number_of_marks, pages())) == sum(len(block.marks) for block in blocks())


def test_no_example_needs_a_date_that_a_run_by_hand_does_not_have() -> None:
    examples = {str(block): block.code for block in blocks(PYTHON)}
    examples |= {path.name: path.read_text() for path in (REPOSITORY / "example_dags").rglob("*.py")}
    needs_a_date = re.compile(r"\{\{ *(ds|ts|ds_nodash|ts_nodash|logical_date|data_interval_start|data_interval_end)\b")

    assert [name for name, code in examples.items() if needs_a_date.search(code)] == []


@pytest.mark.parametrize("block", blocks(SETTINGS), ids=str)
def test_every_option_in_a_block_of_settings_exists(block: Block, count: Callable[..., None]) -> None:
    from airflow.configuration import conf

    settings = configparser.ConfigParser(interpolation=None)
    settings.read_string(block.code)
    options = [(section, option) for section in settings.sections() for option in settings[section]]

    assert options
    assert [option for option in options if not conf.has_option(*option)] == []
    count(blocks_of_settings=1)


def test_every_block_of_json_is_json() -> None:
    for block in blocks(JSON):
        json.loads(block.code)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_address_on_the_web_is_well_formed(page: str) -> None:
    wrong = []
    for link in links_of(page):
        parts = urlsplit(link)
        if parts.scheme and (parts.scheme != "https" or not re.fullmatch(r"[\w-]+(\.[\w-]+)+", parts.netloc)):
            wrong.append(link)

    assert wrong == []
