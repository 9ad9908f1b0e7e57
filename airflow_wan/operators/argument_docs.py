"""Lets each operator's docstring list all its arguments, although each one is described once, where it is added."""

from __future__ import annotations

import inspect
import re

_ARGUMENT = re.compile(r"^:param (?P<name>\w+):.*\n(?:[ ]+.*\n)*", re.MULTILINE)


def list_inherited_arguments(cls: type, root: type) -> None:
    """Add to a class's docstring what its bases say of arguments, and of the result, that it does not describe itself.

    :param cls: the class.
    :param root: the first class whose arguments count; its own bases are left out.
    """
    own = inspect.cleandoc(cls.__doc__ or "") + "\n"
    described = {argument["name"] for argument in _ARGUMENT.finditer(own)}
    text, _, returns = own.partition(":returns:")
    for base in cls.__mro__[1:]:
        if not issubclass(base, root) or base.__doc__ is None:
            continue
        inherited = inspect.cleandoc(base.__doc__) + "\n"
        new = [argument for argument in _ARGUMENT.finditer(inherited) if argument["name"] not in described]
        described |= {argument["name"] for argument in new}
        text += "".join(argument[0] for argument in new)
        returns = returns or inherited.partition(":returns:")[2]
    cls.__doc__ = f"{text}:returns:{returns}"
