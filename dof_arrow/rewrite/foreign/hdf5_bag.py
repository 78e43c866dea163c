"""Bags in HDF5 files, as TRIDENT, CLAM and STAMP write them, a file for each slide.

TRIDENT and CLAM: `features` [n, D] and `coords` [n, 2], in pixels of level 0; STAMP: `feats` and
`coords` in micrometres, where its attribute `unit` says so. What a file of a stranger could lead to
is refused: links, values in other files, filters that HDF5 would load a library for, chunks that
were never written (HDF5 makes them up), sizes that unpack to too much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dof_arrow.format.spec.json_model import Json
from dof_arrow.rewrite.foreign.bag import (
    COORDINATES,
    FEATURES,
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
from dof_arrow.rewrite.foreign.hdf5_file import Item, h5py, item, opened
from dof_arrow.rewrite.foreign.hdf5_stored import stored
from dof_arrow.sources.sample import file_stamp
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
_LOOKED_AT = {*_FACTS, *_CORES, "unit"}


@dataclass(frozen=True, slots=True)
class Hdf5Bag:
    """The bag in an HDF5 file; `claimed` is what its folder says of the core."""

    name: str
    path: Path
    claimed: str | None = None

    def form(self) -> BagForm:
        """What it is like; raises BagRefused."""
        try:
            stamp = file_stamp(self.path)
        except OSError:
            raise BagRefused("unreadable") from None
        with opened(self.path) as file:
            return self._form(file, stamp)

    def _form(self, file: Any, stamp: tuple[int, ...]) -> BagForm:
        vectors = _vectors(file)
        dtype = stored_type(vectors.dtype)
        rows, width = checked_shape(vectors.shape, vectors.dtype.itemsize)
        places = item(file, COORDINATES)
        extents = (stored(file, vectors), None if places is None else stored(file, places))
        owners = [vectors.id, file] if places is None else [places.id, vectors.id, file]
        told = said(owners, _LOOKED_AT)
        facts = {name: told[name] for name in _FACTS if name in told}
        is_stamp = vectors.name == "feats"
        return BagForm(
            rows=rows,
            width=width,
            dtype=dtype,
            narrowed=vectors.dtype.itemsize == 8,
            unit=None if places is None else _unit(told, is_stamp),
            level=_level(facts),
            mpp=_mpp(facts),
            core=_core(told) or self.claimed,
            layout=_layout(told, is_stamp),
            facts=facts,
            stamp=stamp,
            extents=extents,
        )

    def values(self, form: BagForm) -> BagValues:
        """Its values, where the file is as it was; raises BagRefused."""
        try:
            is_same = file_stamp(self.path) == form.stamp
        except OSError:
            is_same = False
        if not is_same:
            raise BagRefused("unreadable")
        vectors, places = self._read(form)
        found = checked_vectors(vectors.reshape(form.rows, form.width), form.dtype)
        if places is None or form.unit is None:
            return BagValues(vectors=found)
        return BagValues(vectors=found, places=checked_places(places, form.rows, form.unit))

    def _read(self, form: BagForm) -> tuple[Array, Array | None]:
        of_vectors, of_places = form.extents
        if of_vectors is None or (of_places is None and form.unit is not None):
            with opened(self.path) as file:
                vectors = _all(_vectors(file))
                return vectors, None if form.unit is None else _all(item(file, COORDINATES))
        try:
            with open_file(self.path) as raw:
                places = None if of_places is None else of_places.read(raw)
                return of_vectors.read(raw), places
        except (OSError, EOFError):
            raise BagRefused("unreadable") from None


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
    return level if isinstance(level, int) and 0 <= level < 1 << 15 else None


def _mpp(facts: dict[str, Json]) -> float | None:
    """Micrometres a pixel, of a tile's side in both."""
    um, pixels = facts.get("tile_size_um"), facts.get("tile_size_px")
    if not isinstance(um, (int, float)) or not isinstance(pixels, (int, float)):
        return None
    return um / pixels if um > 0 and pixels > 0 else None


def _layout(told: Mapping[str, Json], is_stamp: bool) -> str:
    if is_stamp or "stamp_version" in told:
        return "STAMP"
    return "TRIDENT" if "patch_size_level0" in told else "CLAM"
