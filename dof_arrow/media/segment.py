"""A segment of a clip: what is shown from one time on until another, which is no part of it.

Segments are written as W3C Media Fragments are (section 4.2.1, Normal Play Time): `10,20` is what
is shown from second 10 on until second 20, `10` what is shown from there on to the clip's end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction

from dof_arrow.errors import PictureError
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.frames import Footage, Still


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a segment starts and stops, in seconds; None: where the clip ends.

    >>> str(Bounds(Fraction("1.50"), Fraction(3))), Bounds.parse("1.5,3").stop
    ('1.5,3', Fraction(3, 1))
    """

    start: Fraction = Fraction(0)
    stop: Fraction | None = None

    @classmethod
    def parse(cls, text: str) -> Bounds:
        """The bounds that `str` wrote."""
        start, _, stop = text.partition(",")
        return cls(Fraction(start), Fraction(stop) if stop else None)

    def __str__(self) -> str:
        start = _decimal(self.start)
        return start if self.stop is None else f"{start},{_decimal(self.stop)}"


def _decimal(seconds: Fraction) -> str:
    """A decimal number in its shortest form, all of its digits.

    >>> _decimal(Fraction("0.050")), _decimal(Fraction(90))
    ('0.05', '90')
    """
    places = 0
    while (seconds * 10**places).denominator > 1:
        places += 1
    digits = str(int(seconds * 10**places)).zfill(places + 1)
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of a clip as a clip of its own, whose time 0 is where it starts.

    The frame that is shown when it starts comes with the time at which it appeared, which may be
    before 0; the last one is shown until the segment stops. With `to_the_end`, the clip is read to
    its end before the segment is over: some clips only tell there that their times are right.
    Raises PictureError with rule `segment` where the clip ends before the segment does.
    """

    clip: Footage
    bounds: Bounds
    to_the_end: bool = False

    @property
    def facts(self) -> PictureFacts:
        """Those of the whole clip."""
        return self.clip.facts

    @property
    def lost(self) -> str:
        """That of the whole clip."""
        return self.clip.lost

    def stills(self) -> Iterator[Still]:
        """The frames that are shown within the bounds."""
        with closing(self.clip.stills()) as stills:  # type: ignore[type-var]
            yield from self._within(stills)

    def times(self) -> Iterator[Still]:
        """The same, without pixels."""
        return self._within(self.clip.times())

    def _within(self, stills: Iterable[Still]) -> Iterator[Still]:
        start, stop = self.bounds.start, self.bounds.stop
        end = Fraction(0)
        for still in stills:
            end = still.stop
            if stop is not None and still.start >= stop:
                if not self.to_the_end:
                    return
            elif end > start:
                gone = end if stop is None else min(end, stop)
                yield Still(still.start - start, gone - start, still.pixels)
        if start >= end:
            raise _beyond("starts where the clip is over", end, "Look at the column of --start.")
        if stop is not None and stop > end:
            raise _beyond(
                "ends behind the clip's end", end, "An empty cell of --end is the clip's end."
            )


def _beyond(what: str, end: Fraction, hint: str) -> PictureError:
    return PictureError(
        f"the segment {what}", found=f"a clip of {float(end):g} seconds", hint=hint, rule="segment"
    )
