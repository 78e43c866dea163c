"""Whoever knows the inputs, and sorts them, learns nothing from the order of what is published."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.extraction.extract import extract
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.media.augment import Augmentation, draw
from dof_arrow.security.pseudonyms import draw_number, pseudonyms
from tests.support.pictures import KEY, core

COUNT = 200
BROKEN = 40  # further inputs
LISTED = 8  # entries of a list that may stand in any order
SPEC = Augmentation(seed=5, crop=(0.6, 1.0), flip_x=0.5, rotate=(-20.0, 20.0))


@dataclass(frozen=True)
class Known:
    """A source, how it is extracted, the names of its inputs, and orders that an attacker tries."""

    source: Path
    names: Sequence[str]
    orders: Mapping[str, Sequence[str]]
    options: Mapping[str, Any]


def ppm(number: int) -> bytes:
    """A picture that is larger than any with a smaller number."""
    pixels = np.random.default_rng(number).integers(0, 256, (3, 3 + number, 3), np.uint8)
    return b"P6 %d 3 255 " % (3 + number) + pixels.tobytes()


def content(number: int) -> bytes:
    """Every sixth input is no picture."""
    return b"P6" + b" " * number if number % 6 == 5 else ppm(number)


def numbered() -> list[str]:
    return [f"n{number:04d}.ppm" for number in range(COUNT + BROKEN)]


def folder(root: Path) -> Known:
    """Names in one order, times in another."""
    (root / "p").mkdir()
    later = np.random.default_rng(1).permutation(COUNT + BROKEN).tolist()
    for number, name in enumerate(numbered()):
        (root / "p" / name).write_bytes(content(number))
        os.utime(root / "p" / name, (1e9 + later[number], 1e9 + later[number]))
    by_time = [numbered()[number] for number in np.argsort(later).tolist()]
    return Known(root / "p", numbered(), {"times": by_time}, {})


def table(root: Path) -> Known:
    """A table in an order of its own, with a target, groups and columns that are kept."""
    known = folder(root)
    mixed = np.random.default_rng(2).permutation(COUNT + BROKEN).tolist()
    lines = ["file,finding,who,note"]
    for place, number in enumerate(mixed):
        name = known.names[number]
        lines.append(f"{name},f{place % 30:02d},w{place // 2},{place:04d}x")
    (root / "t.csv").write_text("\n".join(lines))
    orders = {**known.orders, "table": [known.names[number] for number in mixed]}
    named = {"table": root / "t.csv", "key": "file", "label": "finding", "group": "who"}
    return Known(known.source, known.names, orders, {**named, "keep": ["note"]})


def tar(root: Path) -> Known:
    mixed = np.random.default_rng(3).permutation(COUNT + BROKEN).tolist()
    with tarfile.open(root / "x.tar", "w") as archive:
        for number in mixed:
            member = tarfile.TarInfo(numbered()[number])
            member.size = len(content(number))
            archive.addfile(member, io.BytesIO(content(number)))
    members = [numbered()[number] for number in mixed]
    return Known(root / "x.tar", numbered(), {"members": members}, {})


def array(root: Path) -> Known:
    pictures = np.random.default_rng(4).integers(0, 256, (COUNT, 4, 4, 3), np.uint8)
    np.save(root / "x.npy", pictures)
    return Known(root / "x.npy", [], {}, {})


def clips(root: Path) -> Known:
    (root / "c").mkdir()
    names = [f"c{number:04d}.npy" for number in range(COUNT)]
    for number, name in enumerate(names):
        frames = np.random.default_rng(number).integers(0, 256, (2, 4, 4 + number, 3), np.uint8)
        np.save(root / "c" / name, frames)
    return Known(root / "c", names, {}, {"clips": True})


def made(known: Known, out: Path, **options: Any) -> Dataset:
    given = {"core": core(), "id_key": KEY, "workers": 2, **known.options, **options}
    return extract(known.source, out=out, **given)


def names_of(known: Known, data: Dataset) -> list[str]:
    """The names of an array's inputs are not known beforehand."""
    from dof_arrow.sources.open import open_source

    if known.names:
        return list(known.names)
    source = open_source(known.source)
    return [source[number].key for number in range(len(source))]


def told(order: Sequence[str], published: Sequence[str]) -> tuple[float, int]:
    """What an attacker has of an order: rank correlation with what is published, and rows hit."""
    place = {name: number for number, name in enumerate(order)}
    ranks = np.argsort(np.argsort([place[name] for name in published]))
    correlation = np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]
    return float(correlation), int((ranks == np.arange(len(ranks))).sum())


def published(names: Sequence[str], data: Dataset) -> Iterator[tuple[str, list[str]]]:
    """All orders in which inputs are published, as the inputs' own names, which are secret."""
    of_id = dict(zip(pseudonyms(KEY, "id", names), names, strict=True))
    ids = data.to_arrow(["id"])["id"].to_pylist()
    yield "rows", [of_id[each] for each in dict.fromkeys(ids)]
    if data.errors:
        yield "errors", [of_id[error["id"]] for error in data.errors]


def lists(value: Any) -> Iterator[list[Any]]:
    if isinstance(value, dict):
        for each in value.values():
            yield from lists(each)
    if isinstance(value, list):
        yield value
        for each in value:
            yield from lists(each)


@pytest.mark.parametrize("kind", [folder, table, tar, array, clips])
def test_no_order_of_the_source_is_told(kind: Any, tmp_path: Path) -> None:
    known = kind(tmp_path)
    data = made(known, tmp_path / "x.parquet")
    names = names_of(known, data)
    orders = {"names": sorted(names), "source": names, **known.orders}
    found = dict(published(names, data))
    assert len(found["rows"]) == COUNT and ("errors" in found) == (len(names) > COUNT)
    for what, inputs in found.items():
        for order in orders.values():
            correlation, hits = told(order, inputs)
            assert abs(correlation) < 3.5 / np.sqrt(len(inputs)), what
            assert hits <= 5, what
    for entries in lists(to_json(data.metadata)):
        assert len(entries) <= LISTED or entries == sorted(entries)
    for name in ("finding", "note"):  # names may be listed in the order of their first rows
        if name in data.columns:
            stored = pq.read_table(data.path, columns=[name], read_dictionary=[name])
            names_listed = stored[name].chunk(0).dictionary.to_pylist()
            rows = stored[name].to_pylist()
            assert names_listed in ([*dict.fromkeys(rows)], sorted(set(rows)))


def test_the_attack_finds_the_order_where_it_is_kept(tmp_path: Path) -> None:
    known = table(tmp_path)
    data = made(known, tmp_path / "x.parquet", order="source")
    for inputs in dict(published(known.names, data)).values():
        assert told(sorted(known.names), inputs) == (pytest.approx(1), len(inputs))


def test_the_parts_of_a_directory_tell_no_order_either(tmp_path: Path) -> None:
    """But for which inputs came together, which the report says."""
    known = folder(tmp_path)
    lines = ["file", *known.names]
    for number in range(2):
        half = [lines[0], *lines[1 + number :: 2]]
        (tmp_path / f"{number}.csv").write_text("\n".join(half))
        half_known = Known(known.source, known.names, {}, {"table": tmp_path / f"{number}.csv"})
        data = made(half_known, tmp_path / "x.dof", key="file")
    (_, rows), (_, errors) = published(known.names, data)
    for inputs in (rows[: COUNT // 2 + 20], rows[-COUNT // 2 + 20 :], errors):
        for order in (known.names, known.orders["times"]):
            correlation, hits = told(order, inputs)
            assert abs(correlation) < 3.5 / np.sqrt(len(inputs)) and hits <= 5


def test_the_draws_of_views_do_not_tell_the_input(tmp_path: Path) -> None:
    """The seed is public: draws by the inputs' numbers could be tried out."""
    known = folder(tmp_path)
    data = made(known, tmp_path / "x.parquet", views=2, augment=SPEC)
    rows = [row["processing"] for row in data if row["view"]]
    found = {tuple(row.values()) for row in rows}
    assert len(rows) == COUNT and len(found) == COUNT

    def drawn(number: int, view: int) -> tuple[Any, ...]:
        made_so = draw(SPEC, number, view)
        return tuple(made_so.get(name) for name in rows[0])

    numbers = range(2 * len(known.names))
    assert not found & {drawn(number, view) for number in numbers for view in (0, 1, 2)}
    assert found <= {drawn(draw_number(KEY, name), 1) for name in known.names}


def test_views_of_two_sites_are_drawn_apart(tmp_path: Path) -> None:
    """Else equal draws would tell that two hospitals have pictures of one name."""
    known = folder(tmp_path)
    views = {"views": 2, "augment": SPEC}
    found = []
    for site in ("a", "b", None):
        data = made(known, tmp_path / f"{site}.parquet", site=site, **views)
        found.append({tuple(row["processing"].values()) for row in data if row["view"]})
    assert not (found[0] & found[1] or found[0] & found[2] or found[1] & found[2])
