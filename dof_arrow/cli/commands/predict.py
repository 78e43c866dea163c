"""`dof predict`: predict on new pictures with a fused model."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE, SOME_FAILED
from dof_arrow.cli.options import running, spoken
from dof_arrow.cli.terminal import Terminal
from dof_arrow.errors import shown
from dof_arrow.progress import Update
from dof_arrow.storage.csv_cells import guarded

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

    MODEL may be a head too: its core is found by digest, in the cache or beside it.
    Names in a CSV list are relative to its folder.
    """
    from dof_arrow.inference.head_cores import whole
    from dof_arrow.inference.predict import Predictor
    from dof_arrow.inference.predict_files import predict as predictions

    predictor = Predictor(whole(model), where=str(model), provider=provider)
    failed = 0

    def answers() -> Iterator[tuple[str, Answer]]:
        nonlocal failed
        with _watched(terminal) as update:
            for done, (path, found) in enumerate(predictions(predictor, inputs, key=key), 1):
                answer = _answer(found)
                failed += "error" in answer
                update(done, None, failed)
                yield path, answer

    if as_csv and not terminal.as_json:
        _print_csv(answers(), list(predictor.heads))
    else:
        terminal.results(_told(answers()))
    return SOME_FAILED if failed else DONE


def _watched(terminal: Terminal) -> AbstractContextManager[Update]:
    """Progress, unless the answers themselves scroll by."""
    return Terminal(quiet=terminal.quiet or sys.stdout.isatty()).progress("predicting")


def _answer(found: Any) -> Answer:
    from dof_arrow.errors import DofError
    from dof_arrow.format.spec.json_model import to_json

    if isinstance(found, DofError):
        return {"error": str(found)}
    return {name: to_json(prediction) for name, prediction in found.items()}


def _told(answers: Iterable[tuple[str, Answer]]) -> Iterator[tuple[Answer, str]]:
    """Each answer as a JSON value and as a line."""
    for path, answer in answers:
        yield {"input": path, **answer}, f"{path}  {_line(answer)}"


def _line(answer: Answer) -> str:
    if "error" in answer:
        return f"failed: {answer['error']}"
    return "; ".join(f"{name}: {_prediction(value)}" for name, value in answer.items())


def _prediction(value: dict[str, Any]) -> str:
    if "value" in value:
        return f"{value['value']:.4g} {value.get('unit', '')}".strip()
    chances = value.get("probabilities", {})
    return ", ".join(f"{label} ({chances[label]:.1%})" for label in _labels(value)) or "none"


def _labels(value: dict[str, Any]) -> list[str]:
    """The one label of a category, or those of a multilabel prediction."""
    return [value["label"]] if "label" in value else list(value.get("labels", []))


def _print_csv(answers: Iterable[tuple[str, Answer]], heads: Sequence[str]) -> None:
    """One line for each input, when it comes; with several heads, columns bear their names."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    header = ["input"]
    for name in heads:
        suffix = "" if len(heads) == 1 else f"_{name}"
        header += [f"prediction{suffix}", f"confidence{suffix}"]
    writer.writerow(map(_cell, [*header, "error"]))
    for path, answer in answers:
        row = [path]
        for name in heads:
            row += _cells(answer.get(name))
        writer.writerow(map(_cell, [*row, answer.get("error", "")]))
        sys.stdout.flush()


def _cells(value: dict[str, Any] | None) -> tuple[Any, Any]:
    """What is predicted, and how sure that is."""
    if value is None:
        return "", ""
    if "value" in value:
        return value["value"], ""
    labels = _labels(value)
    chances = [value["probabilities"][label] for label in labels]
    return "|".join(labels), f"{min(chances):.6f}" if chances else ""


def _cell(value: Any) -> Any:
    """A text from a file or a label, safe for a terminal and a spreadsheet; numbers as they are."""
    return guarded(shown(value)) if isinstance(value, str) else value
