"""Elements of a footer that are read just as one before, known by the bits that decide it.

Of hundreds of row groups most differ in nothing but numbers. So while an element is read, it is
noted which of its bits decide how it is read: all but those that numbers and texts are free to
have. The compact protocol is read from the front and by these bits alone. Where the same bits
stand again, the element is therefore read in the same way and needs no second walk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from dof_arrow.format.parquet.compact import Reader

_MOST = 8  # forms remembered of one kind of element
_PATIENCE = 16  # bytes compared in vain, for each byte of the footer

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How an element of `size` bytes is read.

    `mask` has the bits that decide it, `bits` their values; both are numbers, low byte first.
    `path` is the position of the element's path in it, `values` the number of its values.
    """

    size: int
    mask: int
    bits: int
    path: int
    values: int

    def fits(self, data: bytes, at: int, path: bytes) -> bool:
        """Whether the element at a position has this path and is read in this way."""
        found = data[at : at + self.size]
        if len(found) < self.size:
            return False
        if not data.startswith(path, at + self.path):
            return False
        return int.from_bytes(found, "little") & self.mask == self.bits


Remembered = list[
    tuple[Form, _T]
]  # elements of one kind: how each is read, and what is known of it


class Mark(NamedTuple):
    """Where an element begins: in the bytes, among the values, and among what is noted."""

    at: int
    values: int
    noted: int


class RememberingReader(Reader):
    """A Reader that passes over elements read just as one before."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.bytes = data
        self._patience = _PATIENCE * len(data)

    def mark(self) -> Mark:
        """The position of the element that begins here."""
        return Mark(self.at, self.values, len(self.noted or ()))

    def note(self, at: int, deciding: bytes) -> None:
        """Note which bits decide at a position; what is noted last holds."""
        if self.noted is not None:
            self.noted.append((at, deciding))

    def remember(self, forms: Remembered[_T], mark: Mark, what: _T, path: int = 0) -> None:
        """Add the element from `mark` to here to `forms`.

        `what` is known of it; its path begins at `path`, counted from its first byte.
        """
        if self.noted is None:
            return
        mask = bytearray(b"\xff") * (self.at - mark.at)
        for at, deciding in self.noted[mark.noted :]:
            first = at - mark.at
            mask[first : first + len(deciding)] = deciding
        deciding_bits = int.from_bytes(mask, "little")
        found = int.from_bytes(self.bytes[mark.at : self.at], "little")
        form = Form(
            size=len(mask),
            mask=deciding_bits,
            bits=found & deciding_bits,
            path=path,
            values=self.values - mark.values,
        )
        forms.insert(0, (form, what))  # the next element is most likely like this one
        del forms[_MOST:]

    def recall(self, forms: Remembered[_T], path: bytes = b"") -> tuple[Form, _T] | None:
        """Pass over the element here if it has one of the forms; else it has to be read: None.

        Returns that form, and what is known of the element.
        """
        for form, what in forms:
            if self._patience < 0:
                return None  # a stranger's footer cannot make us compare for hours
            if form.fits(self.bytes, self.at, path):
                self.at += form.size
                self.count(form.values)
                return form, what
            self._patience -= form.size
        return None
