"""Cores found by what they are: their SHA-256, beside a file, in the cache, or made again."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dof_arrow.cores import builtin
from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import runtime
from dof_arrow.cores.headless import Request, core_bytes
from dof_arrow.cores.origins import by_digest, efficientnet_lite, resolve
from dof_arrow.cores.origins.by_digest import Looked
from dof_arrow.errors import CoreError, DofError, OutputError
from dof_arrow.format.spec.metadata import CoreMetadata
from dof_arrow.progress import listening

Wanted = Mapping[str, CoreMetadata | None]

_SHOWN = 5  # files that were not read, in messages


def find_cores(
    wanted: Wanted, folders: Sequence[Path], where: str, *, provider: str = runtime.CPU
) -> list[Core]:
    """The cores of these digests, in order, each with what a dataset says of it, if there is one.

    A core is looked for in the cache, among the ONNX files of `folders` and of `cores/` in them,
    and among the cores that this program makes by itself. Where a dataset says of what model, cut
    where and how pooled a core was made, that model does too: the core is made of it again. Each
    must have its very digest; what a file is called does not matter. It is told which was taken.

    Raises CoreError that names each core that was not found, and where was looked; `where` is the
    file that asks.
    """
    search = _Search(wanted, folders)
    found = {}
    for sha256 in wanted:
        data = search.find(sha256)
        if data is not None:
            found[sha256] = Core(data, provider=provider)
    missing = [sha256 for sha256 in wanted if sha256 not in found]
    if missing:
        raise _not_found(missing, search, where)
    return [found[sha256] for sha256 in wanted]


class _Search:
    """A search for cores; `remarks` say what nearly was one."""

    def __init__(self, wanted: Wanted, folders: Sequence[Path]) -> None:
        self.wanted = wanted
        self.remarks: list[str] = []
        self._folders = folders
        self._looked: Looked | None = None

    @property
    def looked(self) -> Looked:
        """What lies in the folders; files are read when this is first asked for."""
        if self._looked is None:
            originals = [each.source_sha256 for each in self.wanted.values() if each]
            digests = {*self.wanted, *filter(None, originals)}
            self._looked = by_digest.look(digests, self._folders)
        return self._looked

    def find(self, sha256: str) -> bytes | None:
        """The bytes of a core, by the first way that leads to it."""
        for data, place in self._ways(sha256):
            if hashlib.sha256(data).hexdigest() == sha256:
                listening().say(f"core {_called(sha256, self.wanted[sha256])}: {place}")
                return data
        return None

    def _file(self, sha256: str | None) -> Path | None:
        """The file of this digest, in the cache or in the folders."""
        if sha256 is None:
            return None
        try:
            kept = by_digest.cached(sha256)
        except OutputError as error:  # a cache that cannot be trusted is left out
            kept = None
            if str(error) not in self.remarks:
                self.remarks.append(str(error))
        return kept or self.looked.found.get(sha256)

    def _ways(self, sha256: str) -> Iterator[tuple[bytes, str]]:
        """Bytes that may be the core, and where they are from."""
        about = self.wanted[sha256]
        place = self._file(sha256)
        if place is not None:
            yield place.read_bytes(), str(place)
        if about is None:
            yield from _made_here()
            return
        model = _made_by_us(about) or self._file(about.source_sha256)
        if model is None:
            return
        again = _made_again(model, about)
        yield again, f"made again of {model}"
        if hashlib.sha256(again).hexdigest() != sha256:
            self.remarks.append(f"of {model} comes another core than the one of this digest")


def _made_by_us(about: CoreMetadata) -> str | None:
    """The name of the model that a core was made of, if this program makes it."""
    if about.source == builtin.SCATTERING_1:
        return builtin.SCATTERING_1
    if about.source == efficientnet_lite.SOURCE and efficientnet_lite.is_installed():
        return efficientnet_lite.NAME
    return None


def _made_again(model: str | os.PathLike[str], about: CoreMetadata) -> bytes:
    """A core made of a model as another one was; empty where it cannot be."""
    try:
        if model == builtin.SCATTERING_1:
            return builtin.load(pool=about.pool, fit=about.preprocessing.fit).data
        original = resolve.find(model)
        described = dataclasses.replace(
            original, name=about.name, source=about.source, license=about.license
        )
        request = Request(at=about.cut, pool=about.pool, preprocess=about.preprocessing)
        return core_bytes(described, request)
    except DofError:
        return b""


def _made_here() -> Iterator[tuple[bytes, str]]:
    """The cores that this program makes by itself, as they are without any option."""
    for pool in builtin.POOLS:
        yield builtin.load(pool=pool).data, f"{builtin.SCATTERING_1}, pooled {pool}"
    if efficientnet_lite.is_installed():
        yield Core.load(efficientnet_lite.NAME).data, efficientnet_lite.NAME


def _called(sha256: str, about: CoreMetadata | None) -> str:
    name = f"{about.name}, " if about else ""
    return f"{name}SHA-256 {sha256}"


def _not_found(missing: Sequence[str], search: _Search, where: str) -> CoreError:
    looked = search.looked
    cores = [_described(sha256, search.wanted[sha256]) for sha256 in missing]
    places = [*map(str, looked.folders), str(by_digest.cache_folder())]
    found = [f"none of the {looked.files} ONNX files in {', '.join(places)}"]
    if looked.skipped:
        names = ", ".join(path.name for path in looked.skipped[:_SHOWN])
        count = len(looked.skipped)
        found.append(f"{count} too large to be read for this, or unreadable: {names}")
    found += search.remarks
    return CoreError(
        "the core was not found by its digest",
        where,
        "; ".join(cores),
        "; ".join(found),
        "Put its file beside this one, or name it: --core CORE.onnx",
    )


def _described(sha256: str, about: CoreMetadata | None) -> str:
    """All that helps to get hold of a core."""
    if about is None:
        return _called(sha256, about)
    made_of = [f"made of {about.source or 'a model not named'}"]
    if about.license:
        made_of.append(f"licence {about.license}")
    if about.cut:
        made_of.append(f"cut at {about.cut}")
    if about.pool:
        made_of.append(f"pooled {about.pool}")
    return f"{_called(sha256, about)} ({', '.join(made_of)})"
