"""The names of an archive's members: which are taken, and how they part into a sample's files."""

from __future__ import annotations

from collections import Counter

from dof_arrow.sources.sample import Column

_APPLES = "__MACOSX"  # a folder of what macOS knows of files beside their bytes
# A folder, the first character of a file's name, all up to the next dot, and what lies behind it.
_PARTS = r"(?s)^((?:.*/)?[^/][^./]*)(?:\.([^/]*))?$"


def member_name(name: str, left_out: Counter[str]) -> str | None:
    """The name as a relative one; None for one that is hidden or leads out, which is counted.

    >>> member_name("./a/b.png", Counter()), member_name("/a.png", Counter())
    ('a/b.png', 'a.png')
    >>> member_name("a/../../b.png", Counter()), member_name(".git/b.png", Counter())
    (None, None)
    """
    # As nearly all names are; the others are looked at part by part.
    if not name.startswith((".", "/", "_")) and "/." not in name and "//" not in name:
        return name
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        left_out["outside"] += 1
        return None
    if parts[:1] == [_APPLES] or any(part.startswith(".") for part in parts):
        left_out["hidden"] += 1
        return None
    return "/".join(parts) or None


def stems(names: Column) -> Column:
    """What the files of one sample have in common: their names up to the first dot.

    >>> import pyarrow as pa
    >>> stems(pa.array(["a.b/7.seg.PNG", ".x.y"])).to_pylist()
    ['a.b/7', '.x']
    """
    import pyarrow.compute as pc

    return pc.replace_substring_regex(names, _PARTS, r"\1")


def endings(names: Column) -> Column:
    """What sets them apart: all behind that dot, in small letters.

    >>> import pyarrow as pa
    >>> endings(pa.array(["a.b/7.seg.PNG", "a.b/7"])).to_pylist()
    ['seg.png', '']
    """
    import pyarrow.compute as pc

    return pc.utf8_lower(pc.replace_substring_regex(names, _PARTS, r"\2"))
