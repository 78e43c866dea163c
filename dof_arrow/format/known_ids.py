"""What a directory's parts hold already: digests of all ids, kept in the user's cache.

A record is added once. To look it up in every part would read all ids at each addition, so the
digests are kept from one addition to the next, by the manifest's seal, with the parts' uuids. A
digest only says that an id cannot be there; one that may be is looked up in the parts. Where the
cache has nothing, or something damaged, the parts are read.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import OutputError
from dof_arrow.format.directory import Directory
from dof_arrow.format.spec.json_model import parsed
from dof_arrow.storage import caches

Digests = NDArray[np.uint64]

_FOLDER = "ids"
_DIGEST = 32  # bytes of SHA-256
_LENGTH = 8  # bytes of a number
_AT_ONCE = 1 << 16  # ids
_FACTOR = 0x9E3779B97F4A7C15  # odd: no power of it is 0 modulo 2**64


@dataclass(frozen=True, slots=True, eq=False)
class KnownIds:
    """The parts' uuids, in order, and the digests of all their ids, ascending."""

    uuids: tuple[str, ...]
    digests: Digests

    def may_hold(self, digests: Digests) -> bool:
        """Whether one of these may be the digest of an id that is there."""
        places = np.searchsorted(self.digests, digests)
        inside = places < len(self.digests)
        return bool(np.any(self.digests[places[inside]] == digests[inside]))

    def and_part(self, uuid: str, digests: Digests) -> KnownIds:
        """With one part more."""
        places = np.searchsorted(self.digests, digests)
        return KnownIds((*self.uuids, uuid), np.insert(self.digests, places, digests))


NONE = KnownIds((), np.empty(0, np.uint64))


def of_directory(known: Directory) -> KnownIds:
    """What a directory's parts hold: as it was noted when the manifest was written, or read."""
    noted = _noted(known.seal)
    if noted is not None and len(noted.uuids) == len(known.metadata.parts):
        return noted
    uuids = []
    digests = [NONE.digests]
    for part in known.parts:
        uuids.append(part.json["uuid"])
        digests.append(digests_of(part.arrow(known.metadata.record.id)))
    return KnownIds(tuple(uuids), np.sort(np.concatenate(digests), kind="stable"))


def note(seal: str | None, known: KnownIds, instead_of: str | None) -> None:
    """Keep what the directory with this manifest holds, in place of what the last one held.

    Where it cannot be kept, the next addition takes longer.
    """
    if seal is None:
        return
    names = json.dumps(known.uuids).encode()
    head = len(names).to_bytes(_LENGTH, "little") + names
    digests = known.digests.astype("<u8", copy=False).view(np.uint8).data
    state = hashlib.sha256(head)
    state.update(digests)
    # What a power cut leaves of it is known by its digest, and is not waited for.
    with (
        suppress(OutputError, OSError),
        caches.writing(_name(seal), _FOLDER, durable=False) as out,
    ):
        out.write(state.digest() + head, digests)
    if instead_of not in (None, seal):
        with suppress(OutputError, OSError):
            caches.path_of(_name(str(instead_of)), _FOLDER).unlink(missing_ok=True)


def _noted(seal: str | None) -> KnownIds | None:
    with suppress(OutputError, OSError, ValueError):
        stored = caches.read(_name(str(seal)), _FOLDER) or b""
        data = memoryview(stored)[_DIGEST:]
        if seal is None or hashlib.sha256(data).digest() != stored[:_DIGEST]:
            return None
        start = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
        names = parsed(bytes(data[_LENGTH:start]))
        digests = np.frombuffer(data, "<u8", offset=start).astype(np.uint64, copy=False)
        return KnownIds(tuple(names), digests)
    return None


def _name(seal: str) -> str:
    return f"{seal}.ids"


def digests_of(ids: pa.Array | pa.ChunkedArray) -> Digests:
    """A number for each different id, uint64 [k], ascending; equal ids have equal ones.

    >>> digests_of(pa.array(["a", "b", "a"])).tolist() == digests_of(pa.array(["b", "a"])).tolist()
    True
    """
    found = [np.empty(0, np.uint64)]
    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    for chunk in chunks:
        for start in range(0, len(chunk), _AT_ONCE):
            found.append(_digests(chunk.slice(start, _AT_ONCE)))
    return np.unique(np.concatenate(found))


def _digests(ids: pa.Array) -> Digests:
    """A number for each id: its bytes as digits, modulo 2**64."""
    texts = pa.concat_arrays([ids]).cast(pa.large_string())  # without what lies around a slice
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64, len(texts) + 1)
    if data is None or not len(texts):
        return np.zeros(len(texts), np.uint64)
    lengths = np.diff(ends)
    digits = np.frombuffer(data, np.uint8, ends[-1]).astype(np.uint64) + np.uint64(1)
    places = np.arange(len(digits)) - np.repeat(ends[:-1], lengths)
    factors = np.full(int(lengths.max(initial=0)) + 1, _FACTOR, np.uint64)
    digits *= np.cumprod(factors)[places]
    sums = np.concatenate([[np.uint64(0)], np.cumsum(digits)])
    return np.asarray(sums[ends[1:]] - sums[ends[:-1]])
