"""Extension of griffe: examples in docstrings (`>>>`), which Markdown takes for quotations, become blocks of code."""

from __future__ import annotations

from typing import Any

import griffe


def fenced(text: str) -> str:
    """A docstring whose paragraphs that begin with `>>>` stand in fences.

    >>> print(fenced("One line.\\n\\n>>> 1 + 1\\n2"))
    One line.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    """
    paragraphs = []
    for paragraph in text.split("\n\n"):
        example = paragraph.lstrip().startswith(">>>")
        paragraphs.append(f"```pycon\n{paragraph}\n```" if example else paragraph)
    return "\n\n".join(paragraphs)


class Doctests(griffe.Extension):
    """Rewrites every docstring before it is rendered."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """One object's docstring."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
