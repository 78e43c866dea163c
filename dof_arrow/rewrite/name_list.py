"""A list of names in a text file of the owner's: a command line would keep them in its history."""

from __future__ import annotations

import os
from pathlib import Path

from dof_arrow.errors import UsageError
from dof_arrow.system import open_file


def names_in(path: str | os.PathLike[str]) -> list[str]:
    """The names in a UTF-8 text file, one a line, each once; empty lines are none.

    Raises UsageError if it cannot be read, is no such text or holds no name.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     list_file = Path(folder, "names.txt")
    ...     _ = list_file.write_text("a.png\\n\\nb.png\\na.png\\n")
    ...     names_in(list_file)
    ['a.png', 'b.png']
    """
    where = str(path)
    try:
        with open_file(Path(path)) as file:
            text = file.read().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            "the list of names cannot be read", where, found=str(error.strerror)
        ) from None
    except UnicodeDecodeError:
        hint = "Save it as UTF-8 text, one name a line."
        raise UsageError("the list of names is no UTF-8 text", where, hint=hint) from None
    # Of what ends a line only line feeds: names of files may hold the other marks of Unicode.
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    names = list(dict.fromkeys(line for line in lines if line.strip()))
    if not names:
        raise UsageError("the list of names is empty", where, "one name a line")
    return names
