"""`dof predict`: predict on new pictures with a fused model."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE, SOME_FAILED
from dof_arrow.cli.options import running, spoken
from dof_arrow.cli.terminal import Terminal
from dof_arrow.progress import Update

Answer = dict[str, Any]  # a prediction in its JSON form by head, or `error`


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--csv", "as_csv", is_flag=True, help="Print a CSV table.")
@click.option(
    "--key",
    metavar="COLUMN",
    help="The column of a CSV list that names the inputs [default: the first].",
)
@running
@spoken
def predict(
    terminal: Terminal,
    model: Path,
    inputs: tuple[Path, ...],
    as_csv: bool,
    key: str | None,
    provider: str,
) -> int:
    """Predict with a fused MODEL on pictures, clips, folders of them, and CSV lists of such INPUTS.

    Names in a CSV list are relative to its folder.
    """
    from dof_arrow.inference.predict import Predictor
    from dof_arrow.inference.predict_files import predict_files

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
        terminal.results(
            ({"input": path, **answer}, _line(path, answer)) for path, answer in answers()
        )
    return SOME_FAILED if failed else DONE


def _watched(terminal: Terminal) -> AbstractContextManager[Update]:
    """Progress, unless the answers themselves scroll by."""
    return Terminal(quiet=terminal.quiet or sys.stdout.isatty()).progress("predicting")


def _answer(answer: Any) -> Answer:
    from dof_arrow.errors import DofError
    from dof_arrow.format.spec.json_model import to_json

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
    chosen = (
        value.get("labels") or [value["label"]] if "label" in value else value.get("labels", [])
    )
    return ", ".join(f"{label} ({probabilities[label]:.1%})" for label in chosen) or "none"


def _print_csv(answers: Iterable[tuple[str, Answer]], heads: Mapping[str, Any]) -> None:
    """One line an input, each when it comes; with several heads, columns bear their names."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    suffixes = [""] if len(heads) == 1 else [f"_{name}" for name in heads]
    writer.writerow(
        [
            "input",
            *(f"{column}{s}" for s in suffixes for column in ("prediction", "confidence")),
            "error",
        ]
    )
    for path, answer in answers:
        writer.writerow(
            [
                path,
                *(cell for name in heads for cell in _cells(answer.get(name))),
                answer.get("error", ""),
            ]
        )
        sys.stdout.flush()


def _cells(value: dict[str, Any] | None) -> tuple[Any, Any]:
    if value is None:
        return "", ""
    if "value" in value:
        return value["value"], ""
    labels = [value["label"]] if "label" in value else list(value.get("labels", []))
    chances = [value["probabilities"][label] for label in labels]
    return "|".join(labels), f"{min(chances):.6f}" if chances else ""
