"""A file taken apart for its checks: its last bytes, the footer in them, and the footer's keys."""

from __future__ import annotations

from dataclasses import dataclass

from dof_arrow.format.parquet.compact import Struct


@dataclass(frozen=True, slots=True)
class FileParts:
    """The file of `size` bytes open as `file`; `tail` is footer, length and magic."""

    file: int
    size: int
    tail: bytes
    footer: Struct
    keys: dict[bytes, bytes]

    @property
    def start(self) -> int:
        """The footer's first byte."""
        return self.size - len(self.tail)
