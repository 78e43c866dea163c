"""Commands that use datasets: info, validate, fuse, predict, doctor."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from dof_arrow.cli import DONE, NO, SOME_FAILED
from dof_arrow.options import making, running, spoken
from dof_arrow.terminal import Terminal, Update, size, table

Answer = dict[str, Any]  # a prediction in its JSON form by head, or `error`


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@spoken
def info(terminal: Terminal, file: Path) -> int:
    """Say what FILE holds and how it came to be."""
    from dof_arrow import dataset

    ds = dataset.open(file)
    terminal.result(dataset.describe(ds), _portrait(ds))
    terminal.say(f"Next: dof validate --deep {file}")
    return DONE


def _portrait(ds: Any) -> str:
    about = ds.metadata
    rows: list[tuple[str, ...]] = [
        ("rows", f"{len(ds):,}"), ("size", size(ds.size)), ("uuid", about.uuid),
        ("title", about.info.title or "none; set one with dof edit"), ("licence", about.info.license or "not stated"),
    ]
    if about.parts:
        rows.insert(1, ("parts", f"{len(about.parts):,} files, of up to {max(p.rows for p in about.parts):,} rows"))
    for name, core in about.cores.items():
        rows.append((f"core of {name}", f"{core.name}, licence {core.license or 'not stated'}, "
                                        f"sha256 {core.sha256[:16]}…, cut at {core.cut or 'its output'}"))
    for name, target in about.targets.items():
        rows.append((f"target {name}", f"{target.kind} {', '.join(target.classes)}".strip()))
    rows += [(f"split {name}", f"{s.rows:,} rows, {s.records:,} records") for name, s in about.splits.items()]
    if about.errors:
        rows.append(("failed inputs", f"{about.errors.rows:,}"))
    columns = [(name, c.role, f"{c.dtype}{list(c.shape) or ''}", c.layout) for name, c in about.columns.items()]
    return "\n".join([str(ds.path), "", table(rows), "", table([("column", "role", "type", "layout"), *columns])])


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--deep", is_flag=True, help="Check every byte and every row too.")
@spoken
def validate(terminal: Terminal, file: Path, deep: bool) -> int:
    """Check FILE against the specification; every problem at once. Exit code 1 if there is one."""
    from dataclasses import asdict

    from dof_arrow.verify import validate as check

    found = check(file, deep=deep)
    text = "\n".join(map(str, found)) if found else f"{file}: valid" + (", every byte checked" if deep else "")
    terminal.result([asdict(p) for p in found], text)
    if found:
        terminal.say(f"{len(found)} problem(s). Each id stands in schemas/SPEC.md, appendix A.")
    elif not deep:
        terminal.say(f"To check every byte too: dof validate --deep {file}")
    return NO if found else DONE


@click.command()
@click.option("--core", "cores", required=True, multiple=True, metavar="CORE",
              help="The core whose features the heads were trained on; repeat it for heads that read several.")
@making
@click.option("--head", "heads", required=True, multiple=True, type=click.Path(path_type=Path),
              help="A head, its output named after its file; repeatable: all answer in one pass.")
@click.option("--batch", is_flag=True, help="Let the model take several pictures at once, each of its own size.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The model to write.")
@click.option("--overwrite", is_flag=True)
@spoken
def fuse(
    terminal: Terminal, cores: tuple[str, ...], heads: tuple[Path, ...], batch: bool, out: Path, overwrite: bool,
    **options: Any,
) -> int:
    """Join preprocessing, cores and heads into one ONNX file: pictures or clips in, predictions out."""
    from dof_arrow import builtin
    from dof_arrow.commit import refuse_existing, replacing
    from dof_arrow.fuse import fuse as join

    refuse_existing(out, overwrite)
    joined = [builtin.resolve(core, **options) for core in cores]
    data = join(joined, _by_name(heads), batch=batch)
    with replacing(out, overwrite=overwrite) as file:
        file.write(data)
    terminal.result({"path": str(out), "bytes": len(data)}, f"{out}: {size(len(data))}")
    terminal.say(f"Next: dof predict {out} INPUT…")
    return DONE


def _by_name(heads: tuple[Path, ...]) -> dict[str, bytes]:
    from dof_arrow.errors import UsageError

    found = {path.stem: _read(path) for path in heads}
    if len(found) < len(heads):
        raise UsageError("two heads of one name", expected="files of different names, which the outputs bear",
                         found=", ".join(map(str, heads)), hint="Rename one of them.")
    return found


def _read(path: Path) -> bytes:
    from dof_arrow.errors import UsageError

    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError("cannot be read", str(path), found=error.strerror or "") from None


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--csv", "as_csv", is_flag=True, help="Print a CSV table.")
@click.option("--key", metavar="COLUMN", help="The column of a CSV list that names the inputs [default: the first].")
@running
@spoken
def predict(
    terminal: Terminal, model: Path, inputs: tuple[Path, ...], as_csv: bool, key: str | None, provider: str
) -> int:
    """Predict with a fused MODEL on pictures, clips, folders of them, and CSV lists of such INPUTS.

    Names in a CSV list are relative to its folder.
    """
    from dof_arrow.predict import Predictor, predict_files

    predictor = Predictor(model, provider=provider)
    failed = 0

    def answers() -> Iterator[tuple[str, Answer]]:
        nonlocal failed
        with _watched(terminal) as update:
            for done, (path, answer) in enumerate(predict_files(predictor, inputs, key=key), 1):
                said = _answer(answer)
                failed += "error" in said
                update(done, None, failed)
                yield path, said

    if as_csv and not terminal.as_json:
        _print_csv(answers(), predictor.heads)
    else:
        terminal.results(({"input": path, **answer}, _line(path, answer)) for path, answer in answers())
    return SOME_FAILED if failed else DONE


def _watched(terminal: Terminal) -> AbstractContextManager[Update]:
    """Progress, unless the answers themselves scroll by."""
    return Terminal(quiet=terminal.quiet or sys.stdout.isatty()).progress("predicting")


def _answer(answer: Any) -> Answer:
    from dof_arrow.declare import to_json
    from dof_arrow.errors import DofError

    if isinstance(answer, DofError):
        return {"error": str(answer)}
    return {name: to_json(prediction) for name, prediction in answer.items()}


def _line(path: str, answer: Answer) -> str:
    if "error" in answer:
        return f"{path}  failed: {answer['error']}"
    return f"{path}  " + "; ".join(f"{name} {_said(value)}" for name, value in answer.items())


def _said(value: dict[str, Any]) -> str:
    if "value" in value:
        return f"{value['value']:.4g} {value.get('unit', '')}".strip()
    probabilities = value.get("probabilities", {})
    chosen = value.get("labels") or [value["label"]] if "label" in value else value.get("labels", [])
    return ", ".join(f"{label} ({probabilities[label]:.1%})" for label in chosen) or "none"


def _print_csv(answers: Iterable[tuple[str, Answer]], heads: Mapping[str, Any]) -> None:
    """One line an input, each when it comes; with several heads, columns bear their names."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    suffixes = [""] if len(heads) == 1 else [f"_{name}" for name in heads]
    writer.writerow(["input", *(f"{column}{s}" for s in suffixes for column in ("prediction", "confidence")), "error"])
    for path, answer in answers:
        writer.writerow([path, *(cell for name in heads for cell in _cells(answer.get(name))), answer.get("error", "")])
        sys.stdout.flush()


def _cells(value: dict[str, Any] | None) -> tuple[Any, Any]:
    if value is None:
        return "", ""
    if "value" in value:
        return value["value"], ""
    labels = [value["label"]] if "label" in value else list(value.get("labels", []))
    chances = [value["probabilities"][label] for label in labels]
    return "|".join(labels), f"{min(chances):.6f}" if chances else ""


@click.command()
@spoken
def doctor(terminal: Terminal) -> int:
    """Say what is installed, which processors ONNX Runtime can use, and what to install for each ability."""
    from dof_arrow.doctor import examine
    from dof_arrow.providers import short

    report = examine()
    key = report["id_key"]
    lines = [table([(name, version) for name, version in report["versions"].items()]), "",
             f"ONNX Runtime's --provider: {', '.join(map(short, report['providers']))}; threads: {report['threads']}",
             f"Key for pseudonyms: {key['path']}{'' if key['exists'] else ' (made when needed)'}", ""]
    lines += [f"dof-arrow[{extra}]: " + ("installed" if not missing else f"missing {', '.join(missing)}; "
              f"pip install 'dof-arrow[{extra}]'") for extra, missing in report["extras"].items()]
    terminal.result(report, "\n".join(lines))
    terminal.say("Next: dof demo")
    return DONE
