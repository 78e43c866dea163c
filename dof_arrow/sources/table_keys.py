"""Which picture each row of a table is about, by the names in its key column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from dof_arrow.errors import SourceError
from dof_arrow.sources.sample import Column

_UNSAFE = r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)"


def match(keys: Column, names: Column, path: Path) -> tuple[Column, Column]:
    """The picture's relative name of each row, and its place among the sorted `names`.

    The place is null where no picture has that name. Keys are relative names, file names or file
    names without suffix: whichever finds most files. Raises SourceError for a key that is empty,
    leads out of the folder, fits several files or comes twice; it names rows, never keys.
    """
    import pyarrow.compute as pc

    keys = _safe(keys, path)
    places = _places(keys, names, path)
    found = pc.coalesce(names.take(places), keys)
    _check_once(found, path)
    return found, places


def _safe(keys: Column, path: Path) -> Column:
    """The keys as relative names; refuses an empty one and one that leads out of the folder."""
    import pyarrow.compute as pc

    if not len(keys):
        raise SourceError("the table has no rows", str(path))
    bad = pc.fill_null(pc.match_substring_regex(keys, _UNSAFE), True)
    if pc.any(bad).as_py():
        hint = "Keys are names relative to the folder, without a leading / and without `..`."
        raise SourceError(
            "a key is empty or leads out of the folder", _row(path, bad.index(True)), hint=hint
        )
    if pc.any(pc.starts_with(keys, "./")).as_py():
        keys = pc.replace_substring_regex(keys, r"^(\./+)+", "")
    return keys.cast(pa.large_string())


def _places(keys: Column, names: Column, path: Path) -> Column:
    """The place of each key among the names, in the reading that finds most."""
    import pyarrow.compute as pc

    base = pc.replace_substring_regex(names, "(?s)^.*/", "")
    stem = pc.replace_substring_regex(base, r"(?s)(.)\.[^.]*$", r"\1")
    best = names
    places = pc.index_in(keys, value_set=names)
    for reading in (base, stem):
        found = pc.index_in(keys, value_set=reading)
        if found.null_count < places.null_count:
            best = reading
            places = found
    _check_clear(keys, best, path)
    return places


def _check_clear(keys: Column, names: Column, path: Path) -> None:
    """Refuse a key that several files have."""
    import pyarrow.compute as pc

    counts = names.value_counts()
    repeated = pc.greater(counts.field("counts"), 1)
    several = counts.field("values").filter(repeated)
    unclear = pc.is_in(keys, value_set=several)
    if pc.any(unclear).as_py():
        hint = "Write names relative to the folder into the key column, as in `sub/a.png`."
        raise SourceError("a key fits several files", _row(path, unclear.index(True)), hint=hint)


def _check_once(names: Column, path: Path) -> None:
    # Which rows they are is only looked for where there are some.
    if len(names.unique()) == len(names):
        return
    seen: dict[str, int] = {}
    for row, name in enumerate(names.to_pylist()):
        first = seen.setdefault(name, row)
        if first != row:
            raise SourceError(
                "two rows name the same picture",
                str(path),
                found=f"rows {first + 1} and {row + 1}",
                hint="Leave one row for each picture.",
            )


def _row(path: Path, index: Any) -> str:
    return f"{path}, row {index.as_py() + 1} after the header"
