"""PURE: text in a CSV file that a spreadsheet opens is text, never a formula.

A cell that begins with one of ``=``, ``+``, ``-``, ``@``, a tab or a line end is run as a formula by spreadsheets; an apostrophe
before it makes it text. Numbers stay numbers.
"""

import re

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def guarded(value: object) -> object:
    """The cell as it is written."""
    if isinstance(value, str) and value.startswith(FORMULA) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def plain(value: object) -> object:
    """The cell as it was before it was written: what is exported can be imported again."""
    if isinstance(value, str) and value.startswith("'") and value[1:].startswith(FORMULA):
        return value[1:]
    return value
