"""Code that a card offers to be copied: how each framework reads the dataset."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import shown

_OPEN = "import dof_arrow as dof\n\nds = dof.open({file})"
_FIRST_ROWS = "print(table.head())"
_SCHEMA = "print(table.schema)"
_QUERY = 'print(duckdb.sql("select count(*) from ds").fetchall())'


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A piece of code: what it is for, its language, and the text."""

    name: str
    language: str
    code: str


def snippets(data: Dataset) -> tuple[Snippet, ...]:
    """Code for each framework, with the names of this file, its target and its splits.

    Names come from a stranger's file: they stand as quoted literals that hold nothing but a text.
    """
    file = _quoted(data.path.name)
    opened = _OPEN.format(file=file)
    target, has_classes = _taught(data)
    python = {
        "NumPy": f"{opened}\n{_arrays('to_numpy', target)}{_wholes(data)}",
        "scikit-learn": _sklearn(opened, target, has_classes),
        "PyTorch": _loader(opened, data, target, "to_torch"),
        "Keras": _loader(opened, data, target, "to_keras"),
        "TensorFlow": _loader(opened, data, target, "to_tf"),
        "JAX": f"{opened}\n{_arrays('to_jax', target)}",
        "pandas": f"import pandas as pd\n\ntable = pd.read_parquet({file})\n{_FIRST_ROWS}",
        "Polars": f"import polars as pl\n\ntable = pl.read_parquet({file})\n{_FIRST_ROWS}",
        "DuckDB": f"import duckdb\n{opened}\n{_QUERY}",
        "Arrow": f"import pyarrow.parquet as pq\n\ntable = pq.read_table({file})\n{_SCHEMA}",
    }
    if data.metadata.parts:  # a directory: its files are read by us, and handed on
        python["pandas"] = f"{opened}\ntable = ds.to_pandas()\n{_FIRST_ROWS}"
        python["Polars"] = f"{opened}\ntable = ds.to_polars()\n{_FIRST_ROWS}"
        python["Arrow"] = f"{opened}\ntable = ds.to_arrow()\n{_SCHEMA}"
    found = [Snippet(name=name, language="python", code=code) for name, code in python.items()]
    return (*found, Snippet(name="Shell", language="sh", code=_shell(data, target)))


def _quoted(text: str) -> str:
    """A text as a Python literal without anything that changes how it is shown."""
    return shown(repr(text))


def _taught(data: Dataset) -> tuple[str | None, bool]:
    """The target that code trains on, a category before others, and whether it is one.

    None where there is none: survival is not trained on here.
    """
    kinds = {name: target.kind for name, target in data.metadata.targets.items()}
    named = [name for name, kind in kinds.items() if kind == "category"]
    others = [name for name, kind in kinds.items() if kind != "survival"]
    if not others:
        return None, False
    return (named[0], True) if named else (others[0], False)


def _wholes(data: Dataset) -> str:
    """How rows that belong together are read as one."""
    record = data.metadata.record
    if record.frame is not None:
        one = "for clip in ds.sequences():  # frames in order, nothing copied"
        return f"\n\n{one}\n    print(clip.features.shape, clip.time)\n    break"
    if record.bag is not None:
        one = "for name, bag in ds.bags().items():  # the rows of each, nothing copied"
        return f"\n\n{one}\n    print(name, bag.to_numpy().shape)\n    break"
    return ""


def _arrays(call: str, target: str | None) -> str:
    if target is None:
        return f"x = ds.{call}()  # [n, D]\nprint(x.shape)"
    read = f"x, y = ds.{call}(), ds.{call}({_quoted(target)})"
    return f"{read}  # [n, D] and [n]\nprint(x.shape, y.shape)"


def _sklearn(opened: str, target: str | None, classes: bool) -> str:
    if target is None:
        return f"{opened}\nfrom sklearn.cluster import KMeans\n\nKMeans(8).fit(ds.to_numpy())"
    kind = "LogisticRegression" if classes else "Ridge"
    options = "max_iter=1000" if classes else ""
    name = _quoted(target)
    return (
        f"from sklearn.linear_model import {kind}\n{opened}\n"
        f"rows = ds.labelled({name})\n"
        f"model = {kind}({options}).fit(rows.to_numpy(), rows.to_numpy({name}))\n"
        f"print(model.score(rows.to_numpy(), rows.to_numpy({name})))"
    )


def _loader(opened: str, data: Dataset, target: str | None, framework: str) -> str:
    rows = 'ds.split("train")' if "train" in data.metadata.splits else "ds"
    call = "loader(batch_size=256, shuffle=True)"
    if data.metadata.record.frame is not None:
        call = "clip_loader(batch_size=8, shuffle=True)"
    if target is None:
        return f"{opened}\nloader = {rows}.{call}\n{_first(framework)}"
    name = _quoted(target)
    told = call.replace("(", f"(target={name}, ", 1)
    return f"{opened}\nrows = {rows}.labelled({name})\nloader = rows.{told}\n{_first(framework)}"


def _first(framework: str) -> str:
    return f"for batch in loader.{framework}():\n    print(batch)\n    break"


def _shell(data: Dataset, target: str | None) -> str:
    known = data.metadata
    file = shlex.quote(shown(data.path.name))
    lines = [f"dof validate --deep {file}", f"dof info {file}"]
    if target is None:
        return "\n".join(lines)
    clips = known.record.frame is not None
    option = f" --target {shlex.quote(shown(target))}" if len(known.targets) > 1 else ""
    lines.append(f"dof train {file}{option}{' --head rnn' if clips else ''} -o head.onnx")
    # Who does not know the core cannot put a head onto it.
    if known.columns[known.primary_column].core in known.cores:
        lines.append("dof fuse --head head.onnx -o model.onnx")
        lines.append(f"dof predict model.onnx {'CLIP.mp4' if clips else 'PICTURE.png'}")
    return "\n".join(lines)
