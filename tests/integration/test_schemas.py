"""The folder schemas: generated parts are fresh, and what the specification states holds for real files (row C1)."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from dof_arrow.format.parquet import layout
from dof_arrow.format.spec.json_model import declarations, to_json
from dof_arrow.format.spec.metadata import Metadata, encode, from_json, parse
from dof_arrow.format.spec.rules import RULES
from dof_arrow.format.writer import Writer

FOLDER = Path(__file__).parents[2] / "schemas"
SPEC = (FOLDER / "SPEC.md").read_text("utf-8")
EXAMPLES = sorted((FOLDER / "examples").glob("*.json"))
GENERATE = runpy.run_path(str(FOLDER / "generate.py"))


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads((FOLDER / "dof.schema.json").read_text("utf-8"))


def _schema_errors(value: Any, schema: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(value)]


def _written(path: Path) -> bytes:
    """The key `dof` of a file with a target, a split, an error and a document."""
    import pyarrow.parquet as pq

    declared = {
        "targets": {"label": {"kind": "category", "classes": ["a", "b"]}},
        "info": {"title": "two rows", "keys": {"our": "own"}},
    }
    with Writer(path, declared) as w:
        w.write(
            ids=["a", "b"],
            vectors={"feature": np.eye(2, dtype=np.float32)},
            columns={"label": np.array([0, 1]), "split": ["train", "test"]},
        )
        w.fail("c", "truncated", "the picture ends too soon")
        w.attach("notes.txt", b"hello", "text/plain")
    data = pq.read_metadata(path).metadata[b"dof"]
    assert isinstance(data, bytes)
    return data


def _examples() -> Iterator[Any]:
    """The pages of SPEC 6.2: rows, items, and the bytes that stand there."""
    pattern = r"<!-- example: rows=(\d+) items=(\d+) -->\n```\n(.*?)```\n<!-- end -->"
    for rows, items, block in re.findall(pattern, SPEC, re.DOTALL):
        told = [
            re.match(r"\s*((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  |$)", line)
            for line in block.splitlines()
        ]
        assert all(told), block
        yield int(rows), int(items), bytes.fromhex(" ".join(line[1] for line in told if line))


def test_generated_parts_are_fresh() -> None:
    run = subprocess.run(
        [sys.executable, str(FOLDER / "generate.py"), "--check"], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stdout + run.stderr


def test_check_tells_a_difference_and_generate_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate = runpy.run_path(str(FOLDER / "generate.py"))
    main, copy = generate["main"], tmp_path / "SPEC.md"
    copy.write_text(SPEC.replace("| `uuid` |", "| `uid` |"), "utf-8")
    main.__globals__["FOLDER"] = tmp_path
    assert main(["--check"]) == 1
    assert capsys.readouterr().out.split()[0] == "SPEC.md"
    assert not (tmp_path / "dof.schema.json").exists()
    assert main([]) == 0
    assert copy.read_text("utf-8") == SPEC
    assert main(["--check"]) == 0


def test_schema_is_a_json_schema(schema: Any) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid_and_leave_out_defaults(path: Path, schema: Any) -> None:
    value = parse(path.read_bytes())
    assert _schema_errors(value, schema) == []
    assert to_json(from_json(value)) == value


def test_examples_are_there() -> None:
    assert {"minimal", "pictures", "video"} <= {path.stem for path in EXAMPLES}


def test_examples_show_every_section_but_free_ones() -> None:
    shown = {name for path in EXAMPLES for name in json.loads(path.read_bytes())}
    unshown = {"training", "performance", "integrity", "must_understand", "parts"}
    assert {field.name for field in fields(Metadata)} - shown == unshown


def test_a_written_file_is_valid_under_the_schema(tmp_path: Path, schema: Any) -> None:
    """Row C1: an Arrow schema with feature columns and file-level metadata, specified in `schemas/`."""
    data = _written(tmp_path / "x.dof.parquet")
    value = json.loads(data)
    assert _schema_errors(value, schema) == []
    assert encode(from_json(value)) == data


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"uuid": "x"},
        {"columns": {"id": {"role": "name"}}},
        {"primary_column": None},
        {"errors": {"offset": 3}},
        {"splits": {"train": {"rows": -1, "records": 0}}},
        {"must_understand": "cores"},
    ],
    ids=str,
)
def test_schema_and_declarations_refuse_alike(change: Any, tmp_path: Path, schema: Any) -> None:
    from dof_arrow.format.spec.metadata import problems

    value = {**json.loads(EXAMPLES[0].read_bytes()), **change}
    assert _schema_errors(value, schema)
    assert list(problems(value))


def test_pages_in_the_specification_are_those_written() -> None:
    found = list(_examples())
    assert [(rows, items) for rows, items, _ in found] == [(3, 2), (2, 40)]
    for rows, items, told in found:
        single = np.dtype("<f4")
        assert layout.page_start(layout.Fixed("feature", items, True, single, single), rows) == told


@pytest.mark.parametrize(
    ("rows", "items"),
    [
        (1, 1),
        (9, 1),
        (3, 2),
        (8, 5),
        (5, 31),
        (7, 32),
        (4, 33),
        (2, 71),
        (2, 9000),
    ],
)
def test_levels_are_as_section_6_2_says(rows: int, items: int) -> None:
    def varint(value: int) -> bytes:
        return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])

    bits = sum(1 << i for i in range(rows * items) if i % items)
    size = -(-rows * items // 8)
    if items == 1:
        repetition = varint(rows << 1) + b"\x00"
    elif items <= 32:
        repetition = varint(size << 1 | 1) + bits.to_bytes(size, "little")
    else:
        repetition = (b"\x03\xfe" + varint((items - 8) << 1) + b"\x01") * rows
    definition = varint(rows * items << 1) + b"\x01"
    told = b"".join(len(part).to_bytes(4, "little") + part for part in (repetition, definition))
    assert layout.levels(rows, items) == told


@pytest.mark.parametrize(
    "widths",
    [
        [2048, 8],
        [512],
        [5120, 4, 8],
        [1 << 20, 12],
        [100_003],
        [3 << 20],
        [1 << 27],
    ],
    ids=str,
)
def test_groups_are_as_section_6_1_says(widths: list[int]) -> None:
    def low(width: int) -> int:
        return width & -width

    alignment, unit = 64, 1
    for tried in (65_536, 16_384, 4_096):
        needed = max(tried // min(low(w), tried) for w in widths)
        if needed * sum(widths) < 1 << 30:
            alignment, unit = tried, needed
            break
    rows = max(min((1 << 26) // max(widths), 1 << 20) // unit, 1) * unit
    assert layout.geometry(widths) == layout.Geometry(rows, alignment)


def test_section_7_2_verifies_the_seal(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "x.dof.parquet"
    _written(path)
    data = path.read_bytes()
    mark = re.search(r"```\n((?:[0-9a-f]{2} ){11}[0-9a-f]{2})  ", SPEC)
    assert mark
    tail = data[-int.from_bytes(data[-8:-4], "little") - 8 :]
    before, after = tail.split(bytes.fromhex(mark[1]))
    zeros = before + bytes.fromhex(mark[1]) + b"0" * 64 + after[64:]
    assert after[:64].decode() == hashlib.sha256(zeros).hexdigest()


def test_section_2_4_finds_the_copy_in_the_arrow_schema(tmp_path: Path) -> None:
    import base64

    import pyarrow.parquet as pq

    path = tmp_path / "x.dof.parquet"
    value = _written(path)
    schema = base64.b64decode(pq.read_metadata(path).metadata[b"ARROW:schema"])
    assert len(value).to_bytes(4, "little") + value + b"\0" in schema


def test_tables_cover_every_declared_field() -> None:
    for name, kind in GENERATE["kinds"]().items():
        block = re.search(rf"<!-- generated: {name} -->\n(.*?)<!-- end -->", SPEC, re.DOTALL)
        assert block, f"no table of {name} in SPEC.md"
        rows = [line.split(" | ")[0].strip("| `") for line in block[1].splitlines()[2:]]
        assert rows == [declared[0] for declared in declarations(kind)]


def test_appendix_lists_every_rule_and_cites_sections_that_exist() -> None:
    sections = set(re.findall(r"^##+ (\d[\d.]*) ", SPEC, re.MULTILINE))
    for name, rule in RULES.items():
        assert f"| `{name}` | {rule.section} |" in SPEC
        assert rule.section in sections


def test_cited_sections_exist() -> None:
    """Docstrings cite sections of the specification as SPEC 6.4."""
    sections = set(re.findall(r"^##+ (\d[\d.]*) ", SPEC, re.MULTILINE))
    for path in (FOLDER.parent / "dof_arrow").glob("*.py"):
        for cited in re.findall(r"\bSPEC (?:sections? )?(\d+(?:\.\d+)*)", path.read_text("utf-8")):
            assert cited in sections, f"{path.name} cites section {cited}"


def test_nothing_is_called_anonymous() -> None:
    texts = [
        path.read_text("utf-8") for path in FOLDER.rglob("*") if path.suffix in (".md", ".json")
    ]
    assert not any("anonym" in text.lower().replace("pseudonym", "") for text in texts)
