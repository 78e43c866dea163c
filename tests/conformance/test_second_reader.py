"""The second reader, in JavaScript, and the corpus: what it finds is what the JSON beside each file says (C1, C4).

It was written from `schemas/SPEC.md` alone, so agreement shows that the text suffices. `second_reader/README.md` states
the contract that these tests hold it to.
"""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import dof_arrow as dof

HERE = Path(__file__).parents[1]
NODE = shutil.which("node")
VALID = sorted((HERE / "conformance" / "valid").glob("*.parquet"))
INVALID = sorted((HERE / "conformance" / "invalid").glob("*.parquet"))
# SPEC, appendix A: no `layout-claim` where a column has a problem of `vector-type`; the corpus wants both
NEEDS_A_DECODER = {
    "bag-record",
    "bag-scattered",
    "data-unreadable",
    "feature-nonfinite",
    "record-value",
    "split-count",
    "statistics-false",
    "target-value",
}

pytestmark = pytest.mark.skipif(
    NODE is None, reason="node is not installed: the second reader cannot run"
)


def look(*paths: Path) -> list[dict]:
    """What the second reader finds in each file."""
    command = [NODE, str(HERE / "second_reader" / "check.mjs"), *map(str, paths)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


@pytest.fixture(scope="module")
def found() -> dict[Path, dict]:
    paths = VALID + INVALID
    return dict(zip(paths, look(*paths), strict=True))


def expected(path: Path) -> dict:
    return json.loads(path.with_suffix(".json").read_text())


def name(path: Path) -> str:
    return path.stem


def test_corpus_is_there():
    """C4: the corpus that the tests below run over is not empty."""
    assert len(VALID) >= 20 and len(INVALID) >= 100


def test_reader_is_short():
    """C1: the reader is one file of at most 300 lines, of at most 110 columns, that imports nothing but node's own."""
    lines = (HERE / "second_reader" / "reader.mjs").read_text().splitlines()
    imported = [line.split(" from ")[1].strip("'") for line in lines if line.startswith("import ")]
    assert len(lines) <= 300 and max(map(len, lines)) <= 110
    assert imported == ["node:crypto", "node:fs"]


@pytest.mark.parametrize("path", VALID, ids=name)
def test_valid_file_holds_the_same(path, found):
    """C1: of a valid file both readers see the same rows, columns, errors and documents, and no problem."""
    seen, wanted = found[path], expected(path)
    assert seen["found"] == [], seen.get("problems")
    assert seen["state"] == "sealed"
    for key in ("rows", "ids", "columns", "layout", "errors", "documents"):
        assert seen[key] == wanted[key], key


@pytest.mark.parametrize("path", VALID, ids=name)
def test_mapped_values_are_the_same_bytes(path, found):
    """C1: every mapped feature column has the same type, shape and bytes, as views on memory and by file ranges."""
    seen, wanted = found[path], expected(path)
    assert seen["features"].keys() == wanted["features"].keys()
    for column, feature in seen["features"].items():
        assert ("decode" in feature) <= (wanted["layout"] == "compact"), feature
        keys = {"dtype", "shape"} if "decode" in feature else {"dtype", "shape", "first", "sha256"}
        assert {key: feature[key] for key in keys} == {
            key: wanted["features"][column][key] for key in keys
        }
        if "decode" not in feature:
            assert feature["view"] and feature["ranged"] == feature["sha256"]


@pytest.mark.parametrize("path", VALID, ids=name)
def test_mapped_names_are_the_same(path, found):
    """C1: the names of mapped categories and splits, by codes that lie in the file as bytes."""
    seen, wanted = found[path]["names"], expected(path)["names"]
    assert seen == {column: wanted[column] for column in seen}
    if path.stem in ("names", "names-several-groups", "names-256", "names-257", "targets"):
        assert {"label", "split"} <= seen.keys()


@pytest.mark.parametrize("path", [path for path in VALID if path.stem != "other-levels"], ids=name)
def test_row_over_http_is_one_request(path, found):
    """C1: the footer alone proves the layout to a remote reader, who gets a row by one request for its bytes."""
    remote, wanted = found[path]["remote"], expected(path)
    assert remote["opening"]["requests"] <= 2
    if wanted["layout"] == "mapped" and wanted["rows"]:
        (feature, *_) = (
            f for f in found[path]["features"].values() if f.get("last") == remote["values"]
        )
        itemsize = np.dtype(feature["dtype"]).itemsize
        assert remote["row"] == {"requests": 1, "bytes": itemsize * int(np.prod(feature["shape"]))}


@pytest.mark.parametrize("path", INVALID, ids=[path.stem for path in INVALID])
def test_invalid_file_has_the_same_problems(path, found):
    """C4: of an invalid file both find the same problems, by the same ids, but for those behind a decoder."""
    seen, wanted = set(found[path]["found"]), set(expected(path)["deep"])
    assert seen <= wanted, found[path].get("problems")
    assert wanted - seen <= NEEDS_A_DECODER or (seen and found[path].get("refused"))


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_rewritten_and_damaged_files_are_told_apart(path, found):
    """C4: a reader tells a copy that another program made from a file that was changed (7.3)."""
    wanted, seen = expected(path)["deep"], found[path]
    if "derived-copy" in wanted:
        assert seen["derived"] and seen["state"] != "sealed"
    elif {"seal-false", "seal-missing"} & set(wanted):
        assert not seen["derived"] and seen["state"] != "sealed"
    elif seen.get("state"):
        assert seen["state"] == "sealed"


def test_large_file_costs_its_last_64_kib(tmp_path):
    """C1: a file of 2 MB on a server is opened by its last 64 KiB, and a row by 2,048 bytes."""
    vectors = np.random.default_rng(0).standard_normal((1000, 512)).astype("float32")
    path = tmp_path / "large.parquet"
    with dof.Writer(path) as writer:
        writer.write(
            ids=[f"id{row:04}" for row in range(1000)], vectors={"feature": vectors}, columns={}
        )
    (seen,) = look(path)
    assert seen["found"] == [] and seen["rows"] == 1000
    assert seen["features"]["feature"]["sha256"] == hashlib.sha256(vectors.tobytes()).hexdigest()
    assert seen["remote"]["opening"] == {"requests": 1, "bytes": 65536}
    assert seen["remote"]["row"] == {"requests": 1, "bytes": 2048}
    assert seen["remote"]["values"] == pytest.approx(vectors[-1].tolist())


def test_no_changed_byte_goes_unseen(tmp_path):
    """C4: whichever byte of a file is changed, the second reader refuses it or tells a problem."""
    whole = (HERE / "conformance" / "valid" / "plain.parquet").read_bytes()
    paths = []
    for offset in range(0, len(whole), 3):
        paths.append(tmp_path / f"{offset}.parquet")
        paths[-1].write_bytes(
            whole[:offset] + bytes([whole[offset] ^ 1 << offset % 8]) + whole[offset + 1 :]
        )
    assert [seen["file"] for seen in look(*paths) if not seen["found"]] == []
