"""Texts as cells of CSV files, which people open in spreadsheets."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def guarded(text: str) -> str:
    """A text that a spreadsheet takes for a text, not for a formula to compute.

    What looks like a formula gets an apostrophe in front, which spreadsheets hide. Numbers are
    written as numbers, and need no guard.

    >>> guarded("=HYPERLINK(A1)"), guarded("cat")
    ("'=HYPERLINK(A1)", 'cat')
    """
    return f"'{text}" if text.startswith(_FORMULA) else text
