"""What a person sees of a program that draws on a terminal."""

from __future__ import annotations

import re

_STEP = re.compile(
    r"\x1b\[(?P<count>\d*)(?P<what>[A-Za-z])|\x1b\[\?\d+[hl]|\x1b\[[\d;]*m|(?P<move>[\r\n])|(?P<text>[^\x1b\r\n]+)"
)


def lines_of(output: str) -> list[str]:
    """Return the lines that stand on the screen at the end, without colours and spaces at their ends.

    :param output: what the program has written, with the control sequences of a terminal.
    """
    lines, row, column = [""], 0, 0
    for step in _STEP.finditer(output):
        count = int(step["count"] or 1)
        if step["text"]:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + step["text"] + line[column + len(step["text"]) :]
            column += len(step["text"])
        elif step["move"] == "\r":
            column = 0
        elif step["move"] == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif step["what"] == "A":
            row = max(0, row - count)
        elif step["what"] == "K":
            lines[row] = ""
    return [line.rstrip() for line in lines if line.strip()]
