"""How Sphinx makes the site of the documentation: `make docs`.

The pages are the Markdown files of docs/, which are read on GitHub too. Files beside docs/ have a page here whose text
is theirs.
"""

from __future__ import annotations

import os
import re
import tomllib
from os.path import normpath, relpath
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docutils.nodes import Element, TextElement
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_DOCS = Path(__file__).parent
_REPOSITORY = _DOCS.parent

# The reference imports Airflow, which writes its configuration to its home.
os.environ["AIRFLOW_HOME"] = str(_DOCS / "_build" / "airflow")

from airflow_wan import __version__  # noqa: E402

_PROJECT = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text())["project"]

project = _PROJECT["name"]
author = "the contributors of airflow-provider-wan"
copyright = author  # noqa: A001 - as Sphinx names it
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = "index"
exclude_patterns = ["_build", "README.md"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"{project} {release}"
html_baseurl = _PROJECT["urls"]["Documentation"]
html_theme_options = {
    "source_repository": _PROJECT["urls"]["Source"],
    "source_branch": "main",
    "source_directory": "docs/",
}

default_role = "py:obj"  # see `_as_code`
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give types, with their units

_PAGES_OF_FILES = {
    "project/changelog": "CHANGELOG.md",
    "project/contributing": "CONTRIBUTING.md",
    "project/security_policy": "SECURITY.md",
}
_PAGE_OF = {_REPOSITORY / file: _DOCS / f"{page}.md" for page, file in _PAGES_OF_FILES.items()}
_PAGE_OF[_DOCS / "README.md"] = _DOCS / "index.md"


def _take_in(app: Sphinx, docname: str, content: list[str]) -> None:
    """Give a page that stands for a file the text of the file, and lead all links to such files to their pages."""
    folder = (_DOCS / docname).parent
    of_links = folder
    if docname in _PAGES_OF_FILES:
        file = _REPOSITORY / _PAGES_OF_FILES[docname]
        app.env.note_dependency(str(file))
        content[0], of_links = file.read_text(), file.parent

    def lead(link: re.Match[str]) -> str:
        target = Path(normpath(of_links / link["path"]))
        if target.is_dir():
            return f"]({_PROJECT['urls']['Source']}/tree/main/{target.relative_to(_REPOSITORY)})"
        page = _PAGE_OF.get(target, target)
        return f"]({relpath(page, folder)}{link['heading'] or ''})"

    content[0] = re.sub(r"\]\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<heading>#[^)\s]*)?\)", lead, content[0])


def _as_code(_app: Sphinx, _env: BuildEnvironment, node: Element, text: TextElement) -> TextElement | None:
    """Make code of what stands in single backticks in a docstring and is no name that the reference has."""
    return text if node.get("reftype") == "obj" else None


def setup(app: Sphinx) -> None:
    """Register what this file does with the pages."""
    app.connect("source-read", _take_in)
    app.connect("missing-reference", _as_code)
