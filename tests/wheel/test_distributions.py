"""What is uploaded: wheel and sdist have what they need and nothing else, and metadata that an index accepts."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from built_package import UV, run
from packaging.metadata import Metadata
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from airflow_wan import __version__
from airflow_wan.get_provider_info import get_provider_info

if TYPE_CHECKING:
    from built_package import Distributions

REPOSITORY = Path(__file__).parents[2]

# What real keys look like, and what makes those of the tests known as made up.
SECRETS = {
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{20}"),
    "a key of DashScope": re.compile(rb"\bsk-(?:sp-)?[0-9a-f]{32}\b"),
    "a key of APIYI": re.compile(rb"\bsk-[A-Za-z0-9]{48}\b"),
    "a key of Alibaba": re.compile(rb"\bLTAI[A-Za-z0-9]{16,24}\b"),
    "a key of Amazon": re.compile(rb"\bAKIA[A-Z0-9]{16}\b"),
}
MADE_UP = (b"EXAMPLE", b"0123456789")


@pytest.fixture(scope="session")
def files(distributions: Distributions) -> dict[str, dict[str, bytes]]:
    """Return the files of wheel and sdist, by their paths in the repository."""
    with zipfile.ZipFile(distributions.wheel) as wheel:
        in_wheel = {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(distributions.sdist) as sdist:
        members = [member for member in sdist.getmembers() if not member.isdir()]
        assert all(member.isfile() for member in members)
        opened = {member.name.partition("/")[2]: sdist.extractfile(member) for member in members}
        in_sdist = {name: content.read() for name, content in opened.items() if content is not None}
    return {"wheel": in_wheel, "sdist": in_sdist}


@pytest.fixture(scope="session")
def kept_files() -> set[str]:
    """Return the files that git keeps."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("no repository of git")
    return set(listed.stdout.decode().split("\0"))


def test_the_wheel_holds_the_package_its_licence_and_its_types_and_no_more(
    files: dict[str, dict[str, bytes]], distributions: Distributions
) -> None:
    names = set(files["wheel"])
    about = distributions.wheel.name.partition("-py3")[0] + ".dist-info"

    assert {name.partition("/")[0] for name in names} == {"airflow_wan", "airflow_provider_wan", about}
    assert {f"{about}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")} == {
        name for name in names if name.startswith(about)
    }
    assert "airflow_wan/py.typed" in names
    parts = [
        path.relative_to(REPOSITORY).as_posix()
        for folder in ("templates", "static")
        for path in (REPOSITORY / "airflow_wan" / "pages" / folder).iterdir()
    ]
    assert len(parts) > 5
    assert set(parts) <= names


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_every_file_is_kept_by_git(kind: str, files: dict[str, dict[str, bytes]], kept_files: set[str]) -> None:
    names = {name for name in files[kind] if ".dist-info/" not in name}

    # By this name, Airflow looks for a provider's example DAGs.
    assert names - kept_files == {{"sdist": "PKG-INFO", "wheel": "airflow_provider_wan/LICENSE"}[kind]}
    assert {name for name in kept_files if name.startswith("airflow_wan/")} <= names


def test_the_sdist_holds_what_is_needed_to_test_it(files: dict[str, dict[str, bytes]]) -> None:
    tops = {name.partition("/")[0] for name in files["sdist"]}

    assert tops >= {"airflow_wan", "tests", "docs", "example_dags", "constraints", "scripts", "Makefile", "LICENSE"}
    assert tops >= {"README.md", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"}


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_no_file_holds_a_secret(kind: str, files: dict[str, dict[str, bytes]]) -> None:
    found = [
        f"{name}: {what}"
        for name, content in files[kind].items()
        for what, pattern in SECRETS.items()
        for key in pattern.finditer(content)
        if not any(mark in key[0] for mark in MADE_UP)
    ]

    assert found == []


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_no_file_names_a_package_registry(kind: str, files: dict[str, dict[str, bytes]]) -> None:
    usual = run(UV, "pip", "install", "--help")  # it names the index that is used by default
    own = " ".join(value for name, value in os.environ.items() if re.match("(UV|PIP)_.*(INDEX|URL)", name))
    urls = re.findall(r"by default: <?(https://[^\s>]+)", usual) + re.findall(r"https?://[^\s'\"]+", own)
    hosts = {str(urlsplit(url).hostname).encode() for url in urls}

    assert hosts
    assert [name for name, content in files[kind].items() if any(host in content for host in hosts)] == []
    pinned = [content for name, content in files[kind].items() if name.startswith("constraints/")]
    assert not [content for content in pinned if b"://" in content or b"index-url" in content]


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_the_metadata_are_valid_and_say_who_this_is(
    kind: str, files: dict[str, dict[str, bytes]], distributions: Distributions
) -> None:
    name = {"sdist": "PKG-INFO"}.get(kind) or next(name for name in files["wheel"] if name.endswith("/METADATA"))

    told = Metadata.from_email(files[kind][name])  # raises if an index would refuse them

    assert canonicalize_name(told.name) == get_provider_info()["package-name"]
    assert told.version == Version(__version__)
    assert str(told.requires_python) == ">=3.11"
    assert told.license_expression == "Apache-2.0"
    assert told.license_files == ["LICENSE"]
    assert "LICENSE" in {Path(path).name for path in files[kind]}
    assert told.description_content_type == "text/markdown"
    assert told.description == (REPOSITORY / "README.md").read_text()
    assert "Framework :: Apache Airflow :: Provider" in (told.classifiers or [])
    assert all(urlsplit(url).scheme == "https" for url in (told.project_urls or {}).values())
    assert not [requirement for requirement in told.requires_dist or [] if requirement.url]


def test_the_file_names_are_those_of_the_version(distributions: Distributions) -> None:
    _, version, _, tags = parse_wheel_filename(distributions.wheel.name)

    assert version == Version(__version__)
    assert {str(tag) for tag in tags} == {"py3-none-any"}
    assert parse_sdist_filename(distributions.sdist.name) == (get_provider_info()["package-name"], version)


def test_the_version_has_its_part_of_the_changelog() -> None:
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (\S+)(?: - (\d{4}-\d\d-\d\d))?$", changelog, re.MULTILINE)

    assert headings[0][0] == "Unreleased"
    released = [Version(version) for version, _ in headings[1:]]
    assert released == sorted(released, reverse=True)
    assert all(date for _, date in headings[1:])
