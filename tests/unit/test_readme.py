"""README and docs/ are true: their links lead somewhere, their code runs, and their tables are complete."""

from __future__ import annotations

import inspect
import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from documentation import DOCS, PUBLIC_ERRORS, REPOSITORY, links_of, pages

from airflow_wan import exceptions
from airflow_wan.api.catalogue import known_model_ids
from airflow_wan.get_provider_info import get_provider_info
from airflow_wan.operators import wan as operators
from airflow_wan.sensors.wan import WanVideoSensor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

README = (REPOSITORY / "README.md").read_text()
README_LINKS = list(links_of(REPOSITORY / "README.md"))
OPERATORS = [kind for name, kind in vars(operators).items() if name.startswith("Wan") and name.endswith("Operator")]


def read_page(name: str) -> str:
    return (DOCS / name).read_text()


def table_heads(text: str) -> set[str]:
    """The names in the first cell of each row of all tables."""
    cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 900


def test_the_readme_names_the_two_commands_and_the_command_line() -> None:
    assert re.findall(r"^make (\w+) ", README, re.MULTILINE) == ["demo", "test"]
    assert "`airflow-wan`" in README


def test_the_readme_names_every_error_that_users_meet() -> None:
    assert len(PUBLIC_ERRORS) > 15
    assert table_heads(README) >= PUBLIC_ERRORS


BILLED = {"no": False, "yes": True, "the earlier video": True, "perhaps": None}


@pytest.mark.parametrize("page", [README, read_page("errors.md")], ids=["README", "errors.md"])
def test_each_error_knows_whether_it_is_billed_as_the_table_says(page: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", page, re.MULTILINE)
    told = {
        name: next(BILLED[cell] for cell in map(str.strip, cells.split("|")) if cell in BILLED)
        for name, cells in rows
        if name in exceptions.__all__
    }

    assert told.keys() >= PUBLIC_ERRORS
    assert told == {name: getattr(exceptions, name).billed for name in told}


def test_the_readme_has_no_relative_link_for_the_package_index_has_no_files() -> None:
    assert [link for link in README_LINKS if not link.startswith("https://")] == []


def test_every_repository_file_that_the_readme_links_to_exists() -> None:
    urls = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["urls"]
    links = [link for link in [*README_LINKS, *urls.values()] if link.startswith(urls["Source"] + "/")]
    paths = [re.sub(r"^/(?:blob|raw|tree)/main/|#.*$", "", link.removeprefix(urls["Source"])) for link in links]

    assert len(paths) > 10
    assert [path for path in paths if path != "/issues" and not (REPOSITORY / path).exists()] == []


def relative_links() -> Iterator[tuple[Path, str]]:
    for page in pages():
        yield from ((page, link) for link in links_of(page) if "://" not in link)


def test_every_link_between_pages_leads_to_a_file_and_a_heading() -> None:
    dead = []
    for page, link in relative_links():
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if heading and target.is_file() else []
        anchors = {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}
        if not target.exists() or (heading and heading not in anchors):
            dead.append(f"{page.name}: {link}")

    assert dead == []


def test_the_page_on_security_names_tests_that_exist() -> None:
    named = set(re.findall(r"`(tests/[^`]+)`", read_page("security.md")))

    assert len(named) > 20
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


def test_the_index_names_every_page() -> None:
    of_the_site_alone = {DOCS / "README.md", *(DOCS / "project").iterdir()}
    named = {
        str(page.relative_to(DOCS)) for page in pages() if page.is_relative_to(DOCS) and page not in of_the_site_alone
    }

    assert len(named) > 20
    assert set(links_of(DOCS / "README.md")) >= named | {"sidecar.schema.json"}


def test_every_picture_is_shown_and_small() -> None:
    pictures = list((REPOSITORY / "docs" / "pictures").iterdir())
    shown = {link.rpartition("/")[2] for _, link in relative_links()}

    assert len(pictures) >= 5
    assert [path.name for path in pictures if path.name not in shown] == []
    assert [path.name for path in pictures if path.stat().st_size > 200_000] == []


def test_the_page_on_errors_names_each_error_that_users_meet() -> None:
    assert table_heads(read_page("errors.md")) >= PUBLIC_ERRORS | {"WanError"}


@pytest.mark.parametrize("kind", [*OPERATORS, WanVideoSensor], ids=lambda kind: kind.__name__)
def test_the_page_on_operators_names_each_class_and_argument(kind: type) -> None:
    ours = [base for base in kind.__mro__ if base.__module__.startswith("airflow_wan.") and "__init__" in vars(base)]
    arguments = {name for base in ours for name in inspect.signature(base.__init__).parameters} - {"self", "kwargs"}

    assert table_heads(read_page("operators.md")) >= arguments | {kind.__name__}


def test_the_page_on_operators_names_each_model() -> None:
    assert table_heads(read_page("operators.md")) >= set(known_model_ids())


def test_the_page_on_options_names_each_option() -> None:
    assert table_heads(read_page("options.md")) >= set(get_provider_info()["config"]["wan"]["options"])
