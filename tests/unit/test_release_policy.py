"""The page on releases names what is tested."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_table_of_support_names_each_airflow_and_python_that_is_tested() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    page = (REPOSITORY / "docs" / "release_policy.md").read_text()

    cells = re.findall(r"^(?:NEWEST|OLDER|PREVIEW) := (.*)$", makefile, re.MULTILINE)

    assert set(re.findall(r"`(\d\S*-py\S*?)`", page)) == set(" ".join(cells).split())
