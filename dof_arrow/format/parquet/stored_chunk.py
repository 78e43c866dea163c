"""Column chunks of a file that become chunks of another one, with as little reading as can be.

A segment is the gap before a chunk and the chunk (SPEC 7.1). Its bytes, and so its digest, stay
what they are where the new file has it at the same distance from a multiple of the alignment.
"""

from __future__ import annotations

from dataclasses import dataclass

from dof_arrow.errors import FormatError
from dof_arrow.format.parquet import digests, footer
from dof_arrow.format.parquet.compact import Struct

_MAGIC = len(footer.MAGIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChunk:
    """A chunk of the file open as `file`, described by `meta`.

    Its segment begins at byte `start`, that of the first chunk behind the magic. `digest` is the
    segment's; empty for a chunk that no alignment binds, which stands where it ends `next_start`
    bytes, or a multiple of the alignment more or less, before the next one begins.
    """

    file: int
    meta: Struct
    start: int = 0
    digest: bytes = b""
    alignment: int = 1
    next_start: int | None = None

    def fits(self, place: int, *, is_first: bool) -> bool:
        """Whether the segment can stand at a place of another file as it is."""
        if not self.digest or is_first != (self.start == _MAGIC):
            return False
        return self._shift(place) == 0

    def gap(self, place: int) -> int:
        """The bytes to be left before the chunk where its segment begins at `place`."""
        first, end = footer.chunk_range(self.meta)
        if self.digest:
            return (first - self.start + self._shift(place)) % self.alignment
        if self.next_start is None:
            return 0
        return (self.next_start - place - (end - first)) % self.alignment

    def check(self) -> None:
        """Raise FormatError if the segment is not what was digested."""
        if not self.digest:
            return
        first, end = footer.chunk_range(self.meta)
        start = 0 if self.start == _MAGIC else self.start
        if digests.digest(self.file, start, end) != self.digest:
            path = b".".join(footer.items(self.meta, footer.ColumnMeta.PATH))
            raise FormatError(
                "damaged: bytes are not those that were digested",
                f"column {path.decode('utf-8', 'replace')}",
                found=f"others in {first:,} to {end:,}",
                hint="Restore the file from a backup; dof validate --deep FILE shows all.",
            )

    def _shift(self, place: int) -> int:
        return (self.start - place) % self.alignment
