"""A clip kept in one DICOM file of many frames."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from itertools import accumulate, pairwise
from typing import Literal

from dof_arrow.media import dicom
from dof_arrow.media.decode import DEFAULT, ReadingOptions
from dof_arrow.media.dicom import Moving
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.frames import Box, Still, steady, unseen
from dof_arrow.media.intensity import Pixels
from dof_arrow.once import once


class Cine:
    """A clip in the bytes of a DICOM file; its frames are decoded one by one.

    Raises PictureError where the file is refused or cannot be read (see `dicom.decode`),
    MissingExtra without pydicom.
    """

    def __init__(
        self,
        data: bytes,
        *,
        mode: Literal["RGB", "L"] = "RGB",
        fps: float | None = None,
        reading: ReadingOptions = DEFAULT,
    ) -> None:
        self._data = data
        self._mode = mode
        self._fps = fps
        self._options = reading

    @property
    def region(self) -> Box | None:
        """The box that holds the pictures, where the file names it.

        What lies outside may show the patient's name.
        """
        return self._about.region

    @once
    def facts(self) -> PictureFacts:
        """What the file is like."""
        return self._decoded(0)[1]

    @property
    def lost(self) -> str:
        """No frames: each is stored by itself."""
        return ""

    def stills(self) -> Iterator[Still]:
        """All frames, in order."""
        for number, still in enumerate(self.times()):
            yield still._replace(pixels=partial(self._seen, number))

    def times(self) -> Iterator[Still]:
        """The same, without pixels."""
        durations = self._about.lasting
        if not durations:
            return steady(self._about.frames, self._fps, unseen)
        # As decimals, or the sum of many frame times would drift.
        exact = [Fraction(str(seconds)) for seconds in durations]
        moments = accumulate(exact, initial=Fraction(0))
        return (Still(start, stop, unseen) for start, stop in pairwise(moments))

    @once
    def _about(self) -> Moving:
        return dicom.moving(self._data, self._options.allow)

    @once
    def _limits(self) -> tuple[float, float] | None:
        """What becomes black and white in all frames; only used where no window says so."""
        about = self._about
        if about.limits is not None or about.frames == 1:
            return about.limits
        lowest: list[float] = []
        highest: list[float] = []
        for frame in range(about.frames):
            low, high = dicom.extremes(self._data, frame, self._options.allow)
            lowest.append(low)
            highest.append(high)
        return min(lowest), max(highest)

    def _seen(self, frame: int) -> Pixels:
        return self._decoded(frame)[0]

    def _decoded(self, frame: int) -> tuple[Pixels, PictureFacts]:
        return dicom.decode(
            self._data,
            mode=self._mode,
            frame=frame,
            max_pixels=self._options.max_pixels,
            allow=self._options.allow,
            limits=self._limits,
        )
