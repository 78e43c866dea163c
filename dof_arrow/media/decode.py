"""A picture however it is stored -> uint8 pixels: encoded, DICOM or an array, told by content."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dof_arrow.errors import UsageError
from dof_arrow.media import array, dicom, image
from dof_arrow.media.dicom_file import PERMISSIONS, is_dicom
from dof_arrow.media.facts import PictureFacts
from dof_arrow.media.intensity import Pixels

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions:
    """Which pictures may be read; never how they are read.

    `max_pixels` is the largest size (None: as many as fit into `bounds.MEMORY`), `allow` names what
    would be refused otherwise (`dicom_file.PERMISSIONS`). Raises UsageError for other names.
    """

    max_pixels: int | None = None
    allow: Collection[str] = ()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.allow) - set(PERMISSIONS))
        if unknown:
            raise UsageError(
                "no such permission",
                expected=" or ".join(PERMISSIONS),
                found=", ".join(unknown),
                hint=f"Write --allow {PERMISSIONS[0]}",
            )


DEFAULT = ReadingOptions()


def decode(
    stored: bytes | Array,
    *,
    mode: Literal["RGB", "L"] = "RGB",
    orientation: Literal["exif", "ignore"] = "exif",
    draft: int | None = None,
    reading: ReadingOptions = DEFAULT,
    grey_once: bool = False,
) -> tuple[Pixels, PictureFacts]:
    """Pixels uint8 [h, w, 3] or [h, w, 1], C-contiguous, and what the stored picture was like.

    `grey_once` as in `image.decode`. Raises PictureError for what is no picture or is refused.

    >>> decode(np.zeros((2, 3), np.uint8))[0].shape
    (2, 3, 3)
    """
    if isinstance(stored, np.ndarray):
        array.check_size(stored.shape, stored.dtype, reading.max_pixels)
        return array.decode(stored, mode=mode, grey_once=grey_once)
    if is_dicom(stored):
        return dicom.decode(
            stored,
            mode=mode,
            max_pixels=reading.max_pixels,
            allow=reading.allow,
            grey_once=grey_once,
        )
    return image.decode(
        stored,
        mode=mode,
        orientation=orientation,
        draft=draft,
        max_pixels=reading.max_pixels,
        grey_once=grey_once,
    )
