"""The page that filters and searches a dataset on any web server, in a real browser (row D18)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dof_arrow as dof
from tests.support.browsers import Seen, browser
from tests.support.making import ROOT
from tests.support.range_server import RangeServer

PAGE = ROOT / "examples" / "search.html"
ROWS, WIDTH = 3000, 96
MARKUP = "<img src=x onerror=alert(1)>"
_TABLE = "() => [...document.querySelectorAll('#found tr')].map(r => [...r.cells].map(c => c.textContent))"


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def libraries() -> dict[str, bytes]:
    """The two libraries of the page, by the paths at which it looks for them."""
    folder = os.environ.get("DOF_NODE_MODULES", "")
    if not folder:
        pytest.skip(
            "hyparquet is not installed: set DOF_NODE_MODULES to a folder with it and fzstd"
        )
    found = {}
    for name in ("hyparquet/src", "fzstd/esm"):
        for path in sorted((Path(folder) / name).iterdir()):
            found[f"/{name}/{path.name}"] = path.read_bytes()
    return found


def vectors(rows: int = ROWS, dtype: str = "float32") -> Any:
    return np.random.default_rng(7).normal(size=(rows, WIDTH)).astype(dtype)


def made(path: Path, x: Any) -> dof.Dataset:
    labels = [("cat", "dog", MARKUP)[number % 3] for number in range(len(x))]
    ids = [f"p{number:05d}" for number in range(len(x))]
    return dof.from_arrays(x, labels, ids=ids, out=path)


@contextmanager
def opened(running: Any, site: RangeServer, name: str) -> Iterator[Seen]:
    """The page with a dataset opened in it; nothing may fail in it meanwhile."""
    with site.serving() as address:
        page = running.new_context().new_page()
        seen = Seen(page)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("dialog", lambda dialog: seen.errors.append(str(dialog.message)))
        page.goto(f"{address}/search.html?dataset={quote(name)}")
        page.wait_for_selector("body[data-state=ready]")
        yield seen
        page.context.close()
    assert seen.errors == []


def site_of(libraries: dict[str, bytes], *paths: Path) -> RangeServer:
    files = {"/search.html": PAGE.read_bytes(), **libraries}
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        for each in inside:
            files[f"/{each.relative_to(path.parent)}"] = each.read_bytes()
    return RangeServer(files)


def asked(seen: Seen, form: str, **given: Any) -> list[list[str]]:
    """The table that a form gives, without its head."""
    for name, value in given.items():
        field = seen.page.locator(f"#{name}")
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(str(value))
        else:
            field.fill(str(value))
    seen.page.locator(f"#{form} button").click()
    seen.page.wait_for_selector("body[data-state=ready]")
    return list(seen.run(_TABLE))[1:]


def near(x: Any, row: int, count: int = 10) -> list[int]:
    wide = x.astype(np.float64)
    cosine = wide @ wide[row] / np.linalg.norm(wide, axis=1) / np.linalg.norm(wide[row])
    return list(np.argsort(-cosine, kind="stable")[:count])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_row_d18_a_browser_searches_a_file_where_it_lies(
    running: Any, libraries: dict[str, bytes], tmp_path: Path, dtype: str
) -> None:
    """Row D18: search with no server of ours; each vector is read once, and nothing else."""
    x = vectors(dtype=dtype)
    path = tmp_path / "x.parquet"
    made(path, x)
    site = site_of(libraries, path)
    with opened(running, site, "x.parquet") as seen:
        assert seen.text("#facts").startswith("3,000 rows, features feature. ")
        site.forget()
        table = asked(seen, "search", row=1234)
        assert [int(line[0]) for line in table] == near(x, 1234)
        assert table[0][:3] == ["1234", "p01234", "dog"] and float(table[0][3]) == 1
        assert seen.text("#problem") == ""
        read = [size for *_, size in site.requests]
        assert max(read) == x.nbytes and sum(read) < x.nbytes * 1.3
        assert asked(seen, "search", row=ROWS) == []
        assert seen.text("#problem") == "There is no row 3000: the dataset has 3000."


def test_a_filter_reads_its_column_alone_and_texts_stay_texts(
    running: Any, libraries: dict[str, bytes], tmp_path: Path
) -> None:
    x = vectors()
    path = tmp_path / "x.parquet"
    made(path, x)
    site = site_of(libraries, path)
    with opened(running, site, "x.parquet") as seen:
        site.forget()
        table = asked(seen, "filter", column="label", value=MARKUP)
        assert [int(line[0]) for line in table] == list(range(2, 62, 3))
        assert {line[2] for line in table} == {MARKUP}
        assert seen.text("#facts").startswith("1,000 rows. ")
        assert site.given < x.nbytes / 5


def test_a_directory_of_parts(running: Any, libraries: dict[str, bytes], tmp_path: Path) -> None:
    x = vectors(500)
    path = tmp_path / "x.dof"
    for start in range(0, 500, 200):
        part = tmp_path / f"{start}.parquet"
        ids = [f"p{number:05d}" for number in range(start, min(start + 200, 500))]
        dof.from_arrays(x[start : start + 200], ids=ids, out=part)
    dof.merge([tmp_path / f"{start}.parquet" for start in range(0, 500, 200)], path)
    ordered = dof.open(path)
    kept = ordered.to_numpy()
    with opened(running, site_of(libraries, path), "x.dof") as seen:
        for row in (0, 250, 499):
            table = asked(seen, "search", row=row)
            assert [int(line[0]) for line in table] == near(kept, row)
            assert table[0][1] == ordered["id"][row]


def test_what_cannot_be_searched_is_said(
    running: Any, libraries: dict[str, bytes], tmp_path: Path
) -> None:
    made(tmp_path / "x.parquet", vectors(50))
    dof.convert(tmp_path / "x.parquet", tmp_path / "small.parquet", layout="compact")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    site = site_of(libraries, tmp_path / "small.parquet", tmp_path / "other.parquet")
    with opened(running, site, "small.parquet") as seen:
        assert len(asked(seen, "filter", column="label", value="cat")) == 17
        assert asked(seen, "search", row=1) == []
        assert "is not mapped here. Write it so: dof convert" in seen.text("#problem")
    for name, said in {"other.parquet": "not a DoF file", "none.parquet": "says 404"}.items():
        with opened(running, site, name) as seen:
            assert said in seen.text("#problem")
    site.ranges = False
    with opened(running, site, "small.parquet") as seen:
        assert "the server gives no ranges" in seen.text("#problem")
    site.ranges = True


def test_a_file_that_was_changed_meanwhile_is_refused(
    running: Any, libraries: dict[str, bytes], tmp_path: Path
) -> None:
    made(tmp_path / "x.parquet", vectors())
    made(tmp_path / "y.parquet", vectors()[::-1])
    site = site_of(libraries, tmp_path / "x.parquet")
    with opened(running, site, "x.parquet") as seen:
        site.files["/x.parquet"] = (tmp_path / "y.parquet").read_bytes()
        assert asked(seen, "search", row=1) == []
        assert "the file was changed meanwhile" in seen.text("#problem")
