"""DICOM files made by the tests, with a canary in every attribute that could name somebody."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

CANARY = "CANARYQXZ"


def dicom(
    pixels: np.ndarray, *, syntax: str = "1.2.840.10008.1.2.1", frames: int = 0, **attributes: Any
) -> bytes:
    """The bytes of a DICOM file with these pixels, native in explicit little endian unless told otherwise."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    about = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    about.PatientName, about.PatientID, about.PatientBirthDate = (
        f"{CANARY}^Name",
        f"{CANARY}ID",
        "19010203",
    )
    about.InstitutionName, about.StudyDescription = (
        f"{CANARY} Hospital",
        f"{CANARY} fell down the stairs",
    )
    about.PatientComments, about.OperatorsName, about.PatientAddress = (
        f"{CANARY}{n}" for n in "123"
    )
    about.StudyInstanceUID, about.Modality, about.PatientAge, about.PatientSex = (
        "1.2.3",
        "DX",
        "061Y",
        "F",
    )
    about.WindowCenterWidthExplanation = f"{CANARY} window"
    block = about.private_block(0x0011, "CANARYQXZ PRIVATE", create=True)
    block.add_new(1, "LO", f"{CANARY} private")
    about.Rows, about.Columns = pixels.shape[1:3] if frames else pixels.shape[:2]
    colour = pixels.ndim == (4 if frames else 3)
    about.SamplesPerPixel, about.PhotometricInterpretation = (
        (3, "RGB") if colour else (1, "MONOCHROME2")
    )
    if colour:
        about.PlanarConfiguration = 0
    if frames:
        about.NumberOfFrames = frames
    about.BitsAllocated = about.BitsStored = 8 * pixels.dtype.itemsize
    about.HighBit, about.PixelRepresentation = about.BitsStored - 1, int(pixels.dtype.kind == "i")
    for name, value in attributes.items():
        setattr(about, name, value)
    about.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    file = io.BytesIO()
    pydicom.dcmwrite(file, about, enforce_file_format=True)
    return file.getvalue()


def sequence(**attributes: Any) -> Any:
    """A sequence of one item."""
    from pydicom import Dataset, Sequence

    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, value)
    return Sequence([item])
