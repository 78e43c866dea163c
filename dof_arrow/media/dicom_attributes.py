"""The DICOM attributes that may become columns, in the form that they must have."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from dof_arrow.media import dicom_file

ATTRIBUTES = (
    "BitsStored",
    "BodyPartExamined",
    "Columns",
    "EchoTime",
    "Exposure",
    "ImageLaterality",
    "KVP",
    "Laterality",
    "MagneticFieldStrength",
    "Modality",
    "NumberOfFrames",
    "PatientAge",
    "PatientPosition",
    "PatientSex",
    "PhotometricInterpretation",
    "RepetitionTime",
    "Rows",
    "SliceLocation",
    "SliceThickness",
    "ViewPosition",
)
# Identifiers, only ever used to tell which pictures belong together.
GROUPS = ("PatientID", "SeriesInstanceUID", "StudyInstanceUID")

_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_CODE = re.compile(r"[A-Z0-9 _.+-]{1,16}", re.IGNORECASE)


def attributes(
    data: bytes, names: Sequence[str], allow: Collection[str] = ()
) -> dict[str, str | None]:
    """Attributes of `ATTRIBUTES` and `GROUPS` as text, ages in years.

    None where one is absent or is not of the form required: free text could name a person. Raises
    PictureError for bytes that are no DICOM file.
    """
    with dicom_file.explained():
        about = dicom_file.read(data, [*names, "BurnedInAnnotation"], allow)
        return {name: _text(name, about.get(name)) for name in names}


def _text(name: str, value: Any) -> str | None:
    if value is None or name not in (*ATTRIBUTES, *GROUPS):
        return None
    text = str(value).strip()
    if name == "PatientAge":
        return _age(text)
    if name in GROUPS:
        return text or None
    return text if _CODE.fullmatch(text) else None


def _age(text: str) -> str | None:
    """
    >>> _age("006M"), _age("old")
    ('0.5', None)
    """
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in _YEARS:
        return None
    return f"{int(number) * _YEARS[unit]:.4g}"
