"""Checks a request's ``parameters`` and gives each the type that the API needs: a template renders "10" and "True"."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from airflow_wan.api.arguments import show, show_name
from airflow_wan.api.rules import Boolean, Choice, Integer, Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DIGITS = 100
"""Longest text that is read as a number; Python refuses to read very long ones, and no parameter needs one."""

_INTEGERS_BY_NAME = ("duration", "seed")
_BOOLEANS_BY_NAME = ("prompt_extend", "watermark", "audio")


def convert_parameters(
    model_id: str, rules: Mapping[str, Parameter], given: Mapping[str, Any], problems: list[str]
) -> dict[str, Any]:
    """Return the parameters with the types that the API needs, without those that break a rule.

    :param model_id: the model, for messages.
    :param rules: the parameters that the model takes.
    :param given: the parameters as the author gave them.
    :param problems: gets a sentence for each parameter that breaks a rule.
    """
    converted: dict[str, Any] = {}
    for name, value in given.items():
        rule = rules.get(name)
        if rule is None:
            similar = difflib.get_close_matches(show_name(name), rules, n=1, cutoff=0.8)
            hint = f"did you mean {similar[0]}?" if similar else f"it takes {', '.join(rules)}."
            problems.append(f"parameters: {model_id} does not take {show_name(name)}={show(value)}; {hint}")
            continue
        typed = _convert(rule, value)
        if typed is None:
            problems.append(f"{name} must be {rule}, got {show(value)}{_spelling_hint(rule, value)}.")
        else:
            converted[name] = typed
    return converted


def convert_by_name(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a model without rules; a well-known name tells which type a rendered text must get."""
    converted = dict(given)
    for name, value in given.items():
        if not isinstance(value, str):
            continue
        typed: object = None
        if name in _INTEGERS_BY_NAME:
            typed = to_integer(value)
        elif name in _BOOLEANS_BY_NAME:
            typed = to_boolean(value)
        if typed is not None:
            converted[name] = typed
    return converted


def to_integer(value: object) -> int | None:
    """Return the integer that 10, 10.0, "10" and "10.0" stand for; None for True, 2.5, "2.5", "ten" and the rest."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, int):
        return value
    if not isinstance(value, str) or len(value) >= MAX_DIGITS or not value.isascii():
        return None
    found = re.fullmatch(r"\s*(-?\d+)(?:\.0+)?\s*", value)
    return int(found[1]) if found else None


def to_boolean(value: object) -> bool | None:
    """Return the boolean that True and "true", in any letter case, stand for; None for 1, "yes" and anything else."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None


def _convert(rule: Parameter, value: object) -> int | bool | str | None:
    """Return the value with the type that the API needs, or None if it breaks the rule."""
    if isinstance(rule, Integer):
        number = to_integer(value)
        return number if number is not None and rule.allows(number) else None
    if isinstance(rule, Boolean):
        return to_boolean(value)
    if not isinstance(value, str):
        return None
    if isinstance(rule, Choice):
        return value if value in rule.values else None
    return value if re.fullmatch(rule.form, value, re.ASCII) else None


def _spelling_hint(rule: Parameter, value: object) -> str:
    if not isinstance(rule, Choice) or not isinstance(value, str):
        return ""
    meant = [choice for choice in rule.values if choice.lower() == value.strip().lower()]
    return f' (write "{meant[0]}")' if meant else ""
