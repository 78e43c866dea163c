"""A picture however it is stored -> uint8 pixels: encoded, DICOM or an array, told by content."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import UsageError
from dof_arrow.media import array, dicom, facts, image

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions:
    """What may be read: `max_pixels` (None: as many as fit into `media.MEMORY`), and what else would be refused
    (`dicom.PERMISSIONS`). It changes which pictures are read, never how."""

    max_pixels: int | None = None
    allow: Collection[str] = ()

    def __post_init__(self) -> None:
        if unknown := sorted({*self.allow} - {*dicom.PERMISSIONS}):
            raise UsageError(
                "no such permission",
                expected=" or ".join(dicom.PERMISSIONS),
                found=", ".join(unknown),
                hint=f"Write --allow {dicom.PERMISSIONS[0]}",
            )


DEFAULT = ReadingOptions()


def decode(
    stored: bytes | Array,
    *,
    mode: Literal["RGB", "L"] = "RGB",
    orientation: Literal["exif", "ignore"] = "exif",
    draft: int | None = None,
    reading: ReadingOptions = DEFAULT,
) -> tuple[image.Pixels, facts.PictureFacts]:
    """Pixels uint8 [h, w, 3] or [h, w, 1], C-contiguous, and what the stored picture was like; PictureError if none.

    >>> decode(np.zeros((2, 3), np.uint8))[0].shape
    (2, 3, 3)
    """
    if isinstance(stored, np.ndarray):
        return array.decode(stored, mode=mode)
    if dicom.is_dicom(stored):
        return dicom.decode(stored, mode=mode, max_pixels=reading.max_pixels, allow=reading.allow)
    return image.decode(
        stored, mode=mode, orientation=orientation, draft=draft, max_pixels=reading.max_pixels
    )
