from __future__ import annotations

from typing import Any

import pytest

from airflow_wan.api.parameters import convert_by_name, convert_parameters
from airflow_wan.api.rules import Boolean, Choice, Integer, Parameter

RULES: dict[str, Parameter] = {
    "resolution": Choice(("720P", "1080P")),
    "duration": Integer(2, 10, also=0),
    "seed": Integer(0, 2_147_483_647),
    "watermark": Boolean(),
    "ratio": Choice(("16:9", "21:9")),
}


def convert(name: Any, value: object) -> tuple[dict[str, Any], list[str]]:
    problems: list[str] = []
    return convert_parameters("wan2.7-i2v", RULES, {name: value}, problems), problems


def problem_with(name: Any, value: object) -> str:
    converted, (problem,) = convert(name, value)
    assert converted == {}
    return problem


@pytest.mark.parametrize(
    ("name", "given", "sent"),
    [
        ("duration", "10", 10),
        ("duration", " 10 ", 10),
        ("duration", 10.0, 10),
        ("duration", "10.0", 10),
        ("duration", "0", 0),
        ("seed", "2147483647", 2_147_483_647),
        ("watermark", "True", True),
        ("watermark", " FALSE ", False),
        ("watermark", False, False),
        ("resolution", "1080P", "1080P"),
        ("ratio", "21:9", "21:9"),
    ],
)
def test_a_parameter_gets_the_type_that_the_api_needs(name: str, given: object, sent: object) -> None:
    converted, problems = convert(name, given)

    assert problems == []
    assert converted == {name: sent}
    assert type(converted[name]) is type(sent)


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        (
            "duration",
            [11, 1, -5, 2.5, "ten", "2.5", True, "11", [5], {"s": 5}, float("nan"), float("inf")],
            "from 2 to 10, or 0",
        ),
        ("seed", [-1, 2_147_483_648, "-1", 1.5], "from 0 to 2147483647"),
        ("watermark", ["yes", 1, 0, "1", 2.0], "true or false"),
        ("resolution", ["480P", 720, True, ["720P"], "720p"], '"720P" or "1080P"'),
        ("ratio", ["\uff12\uff11:9", "16/9", 1.78], '"16:9"'),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_those_that_are(
    name: str, values: list[object], allowed: str
) -> None:
    for value in values:
        problem = problem_with(name, value)

        assert problem.startswith(f"{name} ")
        assert allowed in problem
        assert repr(value) in problem


def test_a_number_that_python_does_not_read_or_write_is_refused_in_a_short_sentence() -> None:
    for value in (10**5000, "9" * 5000, "-" + "9" * 5000):
        assert len(problem_with("duration", value)) < 250


@pytest.mark.parametrize("value", ["720p", " 720P"])
def test_a_misspelt_choice_is_refused_with_its_right_spelling(value: str) -> None:
    assert '(write "720P")' in problem_with("resolution", value)


def test_an_unknown_parameter_is_refused_with_the_similar_one() -> None:
    problem = problem_with("duratoin", 5)

    assert "duratoin=5" in problem
    assert "did you mean duration?" in problem


@pytest.mark.parametrize("name", ["zzz", 3, None, ("a", "b")])
def test_an_unknown_parameter_is_refused_with_all_that_the_model_takes(name: Any) -> None:
    assert ", ".join(RULES) in problem_with(name, 5)


def test_rendered_text_gets_its_type_by_its_name_where_there_are_no_rules() -> None:
    given = {"duration": "10", "seed": "7", "watermark": "True", "audio": "false", "ratio": "10", "duration_hint": "10"}

    assert convert_by_name(given) == given | {"duration": 10, "seed": 7, "watermark": True, "audio": False}
    assert convert_by_name({"duration": "auto", "seed": [1]}) == {"duration": "auto", "seed": [1]}
