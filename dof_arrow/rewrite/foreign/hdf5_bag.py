"""Bags in HDF5 files, as TRIDENT, CLAM and STAMP write them, a file for each slide.

TRIDENT and CLAM: `features` [n, D] and `coords` [n, 2], in pixels of level 0; STAMP: `feats` and
`coords` in micrometres, where its attribute `unit` says so. What a file of a stranger could lead to
is refused: links, values in other files, filters that HDF5 would load a library for, chunks that
were never written (HDF5 makes them up), sizes that unpack to too much.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dof_arrow.format.spec.json_model import Json
from dof_arrow.rewrite.foreign.bag import (
    COORDINATES,
    FEATURES,
    MOST_BYTES,
    Array,
    BagForm,
    BagRefused,
    BagValues,
    Unit,
    checked_places,
    checked_shape,
    checked_vectors,
    stored_type,
)
from dof_arrow.rewrite.foreign.hdf5_attributes import said
from dof_arrow.rewrite.foreign.hdf5_direct import DirectFile
from dof_arrow.rewrite.foreign.hdf5_extents import Placed
from dof_arrow.rewrite.foreign.hdf5_file import Item, h5py, item, opened
from dof_arrow.rewrite.foreign.hdf5_header import OtherForm
from dof_arrow.rewrite.foreign.hdf5_stored import stored
from dof_arrow.rewrite.foreign.hdf5_texts import Attributes
from dof_arrow.system import open_file

# What is said of how tiles were cut; no names of slides and no folders.
_FACTS = (
    "patch_size",
    "patch_size_level0",
    "level0_magnification",
    "target_magnification",
    "overlap",
    "patch_level",
    "downsample",
    "custom_downsample",
    "tile_size_um",
    "tile_size_px",
    "stamp_version",
    "code_hash",
    "feat_type",
)
_CORES = ("extractor", "encoder", "encoder_name", "model_name")
# What is told where places are not what they should be.
_OF_PLACES = {"no-vectors": "coordinates", "empty": "coordinates"}
_LOOKED_AT = {*_FACTS, *_CORES, "unit"}


@dataclass(frozen=True, slots=True)
class Held:
    """The arrays of a bag in a file, and what the file says in attributes."""

    vectors: Placed
    places: Placed | None
    told: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Hdf5Bag:
    """The bag in an HDF5 file; `claimed` is what its folder says of the core."""

    name: str
    path: Path
    claimed: str | None = None

    def form(self) -> BagForm:
        """What it is like; raises BagRefused."""
        try:
            with open_file(self.path) as raw:
                stamp = _stamp(raw)
                held = read_directly(raw.fileno())
        except OSError:
            raise BagRefused("unreadable") from None
        if held is None:
            with opened(self.path) as file:
                held = _asked(file)
        return self._form(held, stamp)

    def _form(self, held: Held, stamp: tuple[int, ...]) -> BagForm:
        rows, width = _checked(held.vectors)
        told = held.told
        facts = {name: told[name] for name in _FACTS if name in told}
        is_stamp = held.vectors.name == "feats"
        places = held.places
        return BagForm(
            rows=rows,
            width=width,
            dtype=stored_type(held.vectors.dtype),
            narrowed=held.vectors.dtype.itemsize == 8,
            unit=None if places is None else _unit(told, is_stamp),
            level=_level(facts),
            mpp=_mpp(facts),
            core=_core(told) or self.claimed,
            layout=_layout(told, is_stamp),
            facts=facts,
            stamp=stamp,
            extents=(held.vectors.extent, None if places is None else places.extent),
        )

    def values(self, form: BagForm) -> BagValues:
        """Its values, where the file is as it was; raises BagRefused."""
        vectors, places = self._read(form)
        found = checked_vectors(vectors.reshape(form.rows, form.width), form.dtype)
        if places is None or form.unit is None:
            return BagValues(vectors=found)
        return BagValues(vectors=found, places=checked_places(places, form.rows, form.unit))

    def _read(self, form: BagForm) -> tuple[Array, Array | None]:
        of_vectors, of_places = form.extents
        try:
            with open_file(self.path) as raw:
                if _stamp(raw) != form.stamp:
                    raise BagRefused("unreadable")
                if of_vectors is not None and (of_places is not None or form.unit is None):
                    places = None if of_places is None else of_places.read(raw)
                    return of_vectors.read(raw), places
        except (OSError, EOFError):
            raise BagRefused("unreadable") from None
        with opened(self.path) as file:
            vectors = _all(_vectors(file))
            return vectors, None if form.unit is None else _all(item(file, COORDINATES))


def _stamp(file: BinaryIO) -> tuple[int, ...]:
    """By which it is seen whether a file has changed."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def read_directly(file: int) -> Held | None:
    """What an open file holds, by its bytes; None where HDF5 has to be asked."""
    try:
        root = DirectFile(file)
        vectors = next(filter(None, (root.array(name, MOST_BYTES) for name in FEATURES)), None)
        places = root.array(COORDINATES, MOST_BYTES)
        if vectors is None:
            return None
        owners = [array[1] for array in (places, vectors) if array is not None]
        told = Attributes(root.data).said([*owners, root.attributes], _LOOKED_AT)
        return Held(vectors[0], None if places is None else places[0], told)
    except (OtherForm, OverflowError, struct.error):
        return None


def _asked(file: Any) -> Held:
    """What an open file holds, by HDF5."""
    vectors = _vectors(file)
    _checked(vectors)
    found = _placed(file, vectors)
    try:
        places = item(file, COORDINATES)
        of_places = None if places is None else _placed(file, places)
    except BagRefused as error:
        raise BagRefused(_OF_PLACES.get(error.rule, error.rule)) from None
    owners = [vectors.id, file] if places is None else [places.id, vectors.id, file]
    return Held(found, of_places, said(owners, _LOOKED_AT))


def _placed(file: Any, array: Item) -> Placed:
    return Placed(array.name, array.shape, array.dtype, stored(file, array))


def _checked(vectors: Item | Placed) -> tuple[int, int]:
    """Rows and width of vectors; BagRefused for what is none."""
    stored_type(vectors.dtype)
    return checked_shape(vectors.shape, vectors.dtype.itemsize)


def _vectors(file: Any) -> Item:
    for name in FEATURES:
        found = item(file, name)
        if found is not None:
            return found
    raise BagRefused("no-vectors")


def _all(there: Item | None) -> Array:
    """All values of a dataset, as HDF5 reads them."""
    if there is None:  # the file was exchanged
        raise BagRefused("unreadable")
    values: Array = h5py().Dataset(there.id)[...]
    return values


def _core(told: Mapping[str, Json]) -> str | None:
    for name in _CORES:
        if isinstance(told.get(name), str):
            return str(told[name])
    return None


def _unit(told: Mapping[str, Json], is_stamp: bool) -> Unit | None:
    """What coordinates are counted in; None where nobody says."""
    unit = told.get("unit")
    if unit is not None or is_stamp:
        return "um" if unit == "um" else None
    return "pixels"


def _level(facts: dict[str, Json]) -> int | None:
    level = facts.get("patch_level")
    return level if type(level) is int and 0 <= level < 1 << 15 else None


def _mpp(facts: dict[str, Json]) -> float | None:
    """Micrometres a pixel, of a tile's side in both."""
    um, pixels = facts.get("tile_size_um"), facts.get("tile_size_px")
    if isinstance(um, bool) or isinstance(pixels, bool):  # a flag is no size
        return None
    if not isinstance(um, (int, float)) or not isinstance(pixels, (int, float)):
        return None
    return um / pixels if um > 0 and pixels > 0 else None


def _layout(told: Mapping[str, Json], is_stamp: bool) -> str:
    if is_stamp or "stamp_version" in told:
        return "STAMP"
    return "TRIDENT" if "patch_size_level0" in told else "CLAM"
