"""A clip kept in one file of many frames."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property, partial
from itertools import accumulate, pairwise
from typing import Literal

from dof_arrow.media import decode, dicom
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.dicom import Moving
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.frames import Box, Still, steady, unseen
from dof_arrow.media.image import Pixels


class Cine:
    """A clip in the bytes of a DICOM file; frames are decoded one by one.

    Raises PictureError where the file is refused or cannot be read (see `dicom.decode`), MissingExtra without pydicom.
    """

    def __init__(
        self,
        data: bytes,
        *,
        mode: Literal["RGB", "L"] = "RGB",
        fps: float | None = None,
        reading: ReadingOptions = decode.DEFAULT,
    ) -> None:
        self._data, self._mode, self._fps, self._reading = data, mode, fps, reading

    @cached_property
    def _about(self) -> Moving:
        return dicom.moving(self._data, self._reading.allow)

    @property
    def region(self) -> Box | None:
        """The box that holds the pictures, where the file says so: what lies beside may name the patient."""
        return self._about.region

    @cached_property
    def facts(self) -> PictureFacts:
        """What the file is like."""
        return self._decoded(0)[1]

    def stills(self) -> Iterator[Still]:
        """All frames, in order."""
        return (
            still._replace(pixels=partial(self._seen, k)) for k, still in enumerate(self.times())
        )

    def times(self) -> Iterator[Still]:
        """The same, without pixels."""
        if not self._about.lasting:
            return steady(self._about.frames, self._fps, unseen)
        ends = accumulate(
            (Fraction(str(seconds)) for seconds in self._about.lasting), initial=Fraction(0)
        )
        return (Still(start, stop, unseen) for start, stop in pairwise(ends))

    def _seen(self, frame: int) -> Pixels:
        return self._decoded(frame)[0]

    def _decoded(self, frame: int) -> tuple[Pixels, PictureFacts]:
        return dicom.decode(
            self._data,
            mode=self._mode,
            frame=frame,
            max_pixels=self._reading.max_pixels,
            allow=self._reading.allow,
            limits=self._limits,
        )

    @cached_property
    def _limits(self) -> tuple[int, int] | None:
        """What becomes black and white in all frames; only asked for where no window says so."""
        if self._about.limits is not None or self._about.frames == 1:
            return self._about.limits
        found = [
            dicom.extremes(self._data, k, self._reading.allow) for k in range(self._about.frames)
        ]
        return min(low for low, _ in found), max(high for _, high in found)
