"""The generated parts of this folder, made from the declarations in code.

`python schemas/generate.py` rewrites them, `--check` only says which differ, and exits 1 if any does. Generated are
`dof.schema.json` and what stands in SPEC.md between `<!-- generated: NAME -->` and `<!-- end -->`: the fields of the
declared object NAME, or, for `rules`, the problem ids of the validator.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dof_arrow.format.spec import metadata
from dof_arrow.format.spec.json_model import Json, declarations, json_schema, schema_name, to_json
from dof_arrow.format.spec.metadata import VERSION, Metadata
from dof_arrow.format.spec.rules import RULES

FOLDER = Path(__file__).parent
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: Sequence[str]) -> int:
    """Rewrite what differs, or with `--check` only name it; 1 if something differs and stays so."""
    check = "--check" in arguments
    differing = [
        (path, text)
        for path, text in outputs()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    for path, text in differing:
        print(f"{path.name} {'differs: run python schemas/generate.py' if check else 'rewritten'}")
        if not check:
            path.write_text(text, "utf-8")
    return int(check and bool(differing))


def outputs() -> Iterator[tuple[Path, str]]:
    """Every file with generated parts, and what it should hold."""
    specification = FOLDER / "SPEC.md"
    yield specification, filled(specification.read_text("utf-8"))
    yield FOLDER / "dof.schema.json", json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def filled(text: str) -> str:
    """The text with each generated block made anew.

    >>> filled("<!-- generated: Parent -->\\nstale\\n<!-- end -->").splitlines()[1]
    '| field | type | default | since | meaning |'
    """
    return _BLOCK.sub(lambda block: f"{block[1]}{_content(block[2])}\n{block[3]}", text)


def schema() -> Json:
    """The JSON Schema of the key `dof`."""
    declared = json_schema(Metadata)
    return {
        "$schema": declared.pop("$schema"),
        "$id": f"urn:dof-arrow:schema:{VERSION}",
        **declared,
    }


def kinds() -> dict[str, Any]:
    """Every declared object by its name in the schema: the metadata and all that it holds."""
    names = ["Metadata", *json_schema(Metadata)["$defs"]]
    classes = filter(dataclasses.is_dataclass, vars(metadata).values())
    by_name = {schema_name(kind): kind for kind in classes}
    return {name: by_name[name] for name in names}


def _content(name: str) -> str:
    return _rules() if name == "rules" else _fields(kinds()[name])


def _fields(kind: Any) -> str:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    rows = [
        (
            f"`{name}`",
            _bounded(type_name, fields[name].metadata),
            _default(fields[name], required),
            since,
            meaning,
        )
        for name, type_name, required, since, meaning in declarations(kind)
    ]
    return _table(("field", "type", "default", "since", "meaning"), rows)


def _bounded(type_name: str, about: Mapping[str, Any]) -> str:
    if about["pattern"]:
        return f"{type_name} `{about['pattern']}`"
    return type_name if about["minimum"] is None else f"{type_name} ≥ {about['minimum']}"


def _default(field: dataclasses.Field[Any], required: bool) -> str:
    if required:
        return "**required**"
    made = (
        field.default_factory()
        if field.default_factory is not dataclasses.MISSING
        else field.default
    )
    value = to_json(made)
    return "none" if value is None else f"`{json.dumps(value)}`"


def _rules() -> str:
    rows = [
        (f"`{name}`", rule.section, rule.meaning, "thorough" if rule.deep else "always")
        for name, rule in RULES.items()
    ]
    return _table(("id", "section", "what is wrong", "checked"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
