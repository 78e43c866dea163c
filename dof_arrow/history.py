"""The course of a training: an entry an epoch, as JSON lines and as a picture that needs no program to draw it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from dof_arrow.commit import replacing

Entry = Mapping[str, Any]

_WIDTH, _HEIGHT, _LEFT, _TOP = 640, 200, 60, 30
_COLOURS = ("#1b6ca8", "#c4572e", "#2f855a", "#8a5fa8", "#b08900", "#555555")


def lines(entries: Sequence[Entry]) -> str:
    """An entry a line.

    >>> lines([{"epoch": 1, "loss": 0.5}])
    '{"epoch": 1, "loss": 0.5}\\n'
    """
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def write(path: Path, entries: Sequence[Entry]) -> None:
    """Write `path` as JSON lines and, beside it, the same as an SVG picture; what stood there is replaced."""
    for file, text in ((path, lines(entries)), (path.with_suffix(".svg"), svg(entries))):
        with replacing(file, overwrite=True) as out:
            out.write(text.encode())


def svg(entries: Sequence[Entry]) -> str:
    """Two plots over the epochs, one stage a colour: the validation metric, and the losses (training's dashed)."""
    stages = list(dict.fromkeys(str(entry["stage"]) for entry in entries))
    colours = {stage: _COLOURS[i % len(_COLOURS)] for i, stage in enumerate(stages)}
    watched = str(entries[0]["metric"]) if entries else "metric"
    body = _plot(entries, colours, [("score", "")], f"validation {watched}", 0)
    body += _plot(entries, colours, [("valid_loss", ""), ("train_loss", ' stroke-dasharray="4 3"')],
                  "loss: validation, training (dashed)", _HEIGHT + 2 * _TOP)
    height = 2 * (_HEIGHT + 2 * _TOP)
    legend = "".join(f'<text x="{_LEFT + _WIDTH + 12}" y="{_TOP + 14 * (i + 1)}" fill="{colours[stage]}">'
                     f"{escape(stage)}</text>" for i, stage in enumerate(stages[:20]))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 100} {height}" '
            f'font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="white"/>{body}{legend}</svg>\n')


def _plot(
    entries: Sequence[Entry], colours: Mapping[str, str], curves: Sequence[tuple[str, str]], title: str, top: int
) -> str:
    values = [entry[name] for name, _ in curves for entry in entries if entry[name] is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    high = high if high > low else low + 1.0
    last = max((entry["epoch"] for entry in entries), default=1)
    drawn = "".join(_curve(entries, stage, name, style, colour, (low, high, last), top)
                    for stage, colour in colours.items() for name, style in curves)
    return _frame(title, low, high, last, top) + drawn


def _curve(
    entries: Sequence[Entry], stage: str, name: str, style: str, colour: str, span: tuple[float, float, int], top: int
) -> str:
    low, high, last = span
    points = [(_LEFT + _WIDTH * (entry["epoch"] - 1) / max(last - 1, 1),
               top + _TOP + _HEIGHT * (1 - (entry[name] - low) / (high - low)))
              for entry in entries if str(entry["stage"]) == stage and entry[name] is not None]
    at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="1.5"{style}/>'


def _frame(title: str, low: float, high: float, last: int, top: int) -> str:
    bottom = top + _TOP + _HEIGHT
    return (f'<rect x="{_LEFT}" y="{top + _TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#bbb"/>'
            f'<text x="{_LEFT}" y="{top + _TOP - 8}">{escape(title)}</text>'
            f'<text x="{_LEFT - 6}" y="{top + _TOP + 10}" text-anchor="end">{high:.3g}</text>'
            f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">{low:.3g}</text>'
            f'<text x="{_LEFT + _WIDTH}" y="{bottom + 16}" text-anchor="end">epoch {last}</text>')
