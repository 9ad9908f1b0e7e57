"""The page on troubleshooting knows every code that the code knows, and says the same of each, in both languages."""

from __future__ import annotations

import re

import pytest
from documentation import DOCS, PUBLIC_ERRORS

from airflow_wan import exceptions
from airflow_wan.api import failures
from airflow_wan.api.answers import Answer
from airflow_wan.api.failures import NO_SUCH_TASK_CODES, read_error, submit_error

PAGE = (DOCS / "troubleshooting.md").read_text()
CHINESE = re.compile(r"[\u4e00-\u9fff]")
BILLED = {
    "no": (False, "否"),
    "yes": (True, "是"),
    "perhaps": (None, "可能"),
    "the earlier video": (True, "先前的视频"),
}

KNOWN_CODES = sorted({code for codes, _ in failures._CLASS_BY_CODE for code in codes} | {*failures._MEDIA_NOT_FETCHED})
SENTENCES = [sentence for sentence, _ in failures._CLASS_BY_SENTENCE]

# From the gateways' own catalogues of errors, as far as they concern video tasks: what goes on after the codes above.
DOCUMENTED = (
    "InvalidParameter.DataInspection",
    "InvalidURL.ConnectionRefused",
    "InvalidURL.Timeout",
    "InvalidFile.DownloadFailed",
    "InvalidFile.Size",
    "InvalidFile.Duration",
    "InvalidFile.Format",
    "InvalidFile.Resolution",
    "InvalidFile.FPS",
    "InvalidFile.Openerror",
    "InvalidFile.AspectRatio",
    "InvalidImage.FileFormat",
    "BadRequest.EmptyInput",
    "BadRequest.EmptyParameters",
    "BadRequest.EmptyModel",
    "BadRequest.IllegalInput",
    "BadRequest.TooLarge",
    "BadRequest.InputDownloadFailed",
    "AccessDenied.Unpurchased",
    "Throttling.RateQuota",
    "Throttling.BurstRate",
    "Throttling.AllocationQuota",
    "InternalError.Algo",
    "InternalError.FileUpload",
    "InternalError.Upload",
    "InternalError.Timeout",
)


def rows_of(heading: str) -> list[list[str]]:
    """Return the cells of the table under the heading that begins so."""
    (section,) = re.findall(rf"^#+ {re.escape(heading)}[^\n]*\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return rows[2:]


SECTIONS = re.findall(r"^### (.*): `(\w+)`$", PAGE, re.MULTILINE)
CODES = [(row[0].strip("`"), row[1], error) for heading, error in SECTIONS for row in rows_of(f"{heading}: ")]


def test_every_code_that_the_code_knows_is_on_the_page_and_every_documented_one() -> None:
    on_page = {code.lower() for code, _, _ in CODES}

    assert len(KNOWN_CODES) > 50
    assert [code for code in [*KNOWN_CODES, *DOCUMENTED] if code.lower() not in on_page] == []


@pytest.mark.parametrize(("code", "statuses", "error"), CODES, ids=[code for code, _, _ in CODES])
def test_a_code_means_the_error_of_its_heading(code: str, statuses: str, error: str) -> None:
    usual = {"SubmitAmbiguous": "500", "RateLimited": "429"}.get(error, "400")
    for status in map(int, (statuses or usual).split(", ")):
        answer = Answer(status, {}, {"code": code, "message": "In the gateway's words."}, "")
        meant = read_error(answer) if code.lower() in NO_SUCH_TASK_CODES else submit_error(answer)

        assert type(meant).__name__ == error
        if error == "SubmitAmbiguous":
            assert type(read_error(answer)).__name__ == "GatewayUnavailable"


def test_a_sentence_without_a_code_means_the_error_of_its_row() -> None:
    told = {row[0].strip("`"): row[1].strip("`") for row in rows_of("Answers without a code")}

    assert {sentence.lower() for sentence in told} == set(SENTENCES)
    for sentence, error in told.items():
        answer = Answer(500, {}, {"error": {"message": f"{sentence} (request id: 1)"}}, "")
        assert type(submit_error(answer)).__name__ == error


def test_every_error_that_users_meet_is_on_the_page_and_its_bill_is_told_in_both_languages() -> None:
    told = {row[0].strip("`"): (row[1], row[2]) for row in rows_of("By error")}

    assert told.keys() == PUBLIC_ERRORS
    for name, (english, chinese) in told.items():
        assert (getattr(exceptions, name).billed, chinese) == BILLED[english]


def test_every_row_says_what_to_do_in_both_languages() -> None:
    headings = ["By symptom", "By error", "Answers without a code", *(f"{heading}: " for heading, _ in SECTIONS)]
    rows = [row for heading in headings for row in rows_of(heading)]

    assert len(rows) > 100
    for row in rows:
        english, chinese = row[-2:]
        assert re.search("[a-z]", english), row
        assert CHINESE.search(chinese), row
        assert not CHINESE.search(english), row
