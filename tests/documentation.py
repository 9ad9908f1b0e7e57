"""Finds the blocks of code and the links in the documentation.

A comment of HTML right before a block, which no reader sees, marks it:

- ``<!-- not run: it starts containers -->`` says why a test cannot run the block.
- ``<!-- file: ~/airflow/dags/first_video.py -->`` says where the reader is told to save it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

from airflow_wan import exceptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from markdown_it.token import Token

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"

PYTHON = "python"
SHELL = "sh"
SETTINGS = "ini"
JSON = "json"
# The drawing in the module's docstring has two trees: the errors that users meet, and those that the package catches.
_, _PUBLIC_TREE, _ = (exceptions.__doc__ or "").split("    WanError\n")
PUBLIC_ERRORS = frozenset(re.findall(r"── (\w+)", _PUBLIC_TREE))
"""The names of the errors that users meet."""

NO_CODE = frozenset({"text"})
"""Languages of blocks that say nothing that could be run, such as recordings."""

_MARK = re.compile(r"<!-- (?P<name>not run|file): (?P<value>.+?) -->")
_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A block of code.

    :param page: its page, relative to the repository.
    :param line: the line on which it begins.
    :param language: its language, as the page says it.
    :param code: what is in it.
    :param marks: what the comment before it says, by name.
    """

    page: str
    line: int
    language: str
    code: str = field(repr=False)
    marks: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return every page that people write: those of docs/, and those beside it that the site takes in."""
    in_docs = [page for page in DOCS.rglob("*.md") if "_build" not in page.parts and page != DOCS / "index.md"]
    return sorted([*REPOSITORY.glob("*.md"), *in_docs])


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page, without the directives of Sphinx."""
    found: list[Block] = []
    marks: dict[str, str] = {}
    for token in _MARKDOWN.parse(page.read_text()):
        if token.type == "fence" and not token.info.startswith("{"):
            begin = (token.map or [0])[0] + 1
            found.append(Block(str(page.relative_to(REPOSITORY)), begin, token.info.strip(), token.content, marks))
        marks = _marks_in(token)
    return found


def number_of_marks(page: Path) -> int:
    """Return how many marks a page has, whatever they stand before."""
    return sum(len(_marks_in(token)) for token in _MARKDOWN.parse(page.read_text()))


def _marks_in(token: Token) -> dict[str, str]:
    comment = token.content if token.type == "html_block" else ""
    return {mark["name"]: mark["value"] for mark in _MARK.finditer(comment)}


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of all pages, or those of some languages."""
    return [block for page in pages() for block in blocks_of(page) if not languages or block.language in languages]


def links_of(page: Path) -> Iterator[str]:
    """Yield where each link and each picture of a page leads to."""
    yield from _links(_MARKDOWN.parse(page.read_text()))


def _links(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        for name in ("href", "src"):
            if target := token.attrs.get(name):
                yield str(target)
        yield from _links(token.children or [])
