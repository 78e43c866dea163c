"""The course of a training as JSON lines, and as an SVG picture that a browser shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from dof_arrow.storage.atomic import replacing

Entry = Mapping[str, Any]

# The size of one plot and its margins, in pixels.
_WIDTH, _HEIGHT = 640, 200
_LEFT, _TOP = 60, 30
_COLOURS = ("#1b6ca8", "#c4572e", "#2f855a", "#8a5fa8", "#b08900", "#555555")
_DASHED = ' stroke-dasharray="4 3"'
_IN_LEGEND = 20  # stages; of more, there is no room for their names


def lines(entries: Sequence[Entry]) -> str:
    """One line of JSON for each entry.

    >>> lines([{"epoch": 1, "loss": 0.5}])
    '{"epoch": 1, "loss": 0.5}\\n'
    """
    texts = [json.dumps(entry) + "\n" for entry in entries]
    return "".join(texts)


def write(path: Path, entries: Sequence[Entry]) -> None:
    """Write `path` as JSON lines, and the same as a picture beside it; existing files are replaced.

    An entry has a stage, an epoch, the name of the metric, its score, and both losses.
    """
    _replace(path, lines(entries))
    _replace(path.with_suffix(".svg"), svg(entries))


def _replace(path: Path, text: str) -> None:
    with replacing(path, overwrite=True) as file:
        file.write(text.encode())


def svg(entries: Sequence[Entry]) -> str:
    """Two plots over the epochs, with a colour for each stage: the metric, and the losses."""
    colours: dict[str, str] = {}
    for entry in entries:
        next_colour = _COLOURS[len(colours) % len(_COLOURS)]
        colours.setdefault(str(entry["stage"]), next_colour)
    metric = str(entries[0]["metric"]) if entries else "metric"
    plot_height = _HEIGHT + 2 * _TOP
    scores = _plot(entries, colours, {"score": ""}, f"validation {metric}", 0)
    losses = _plot(
        entries,
        colours,
        {"valid_loss": "", "train_loss": _DASHED},
        "loss: validation, training (dashed)",
        plot_height,
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {_LEFT + _WIDTH + 100} {2 * plot_height}" '
        f'font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>'
        f"{scores}{losses}{_legend(colours)}</svg>\n"
    )


def _legend(colours: Mapping[str, str]) -> str:
    text = ""
    left = _LEFT + _WIDTH + 12
    top = _TOP
    for stage in list(colours)[:_IN_LEGEND]:
        top += 14
        name = escape(stage)
        text += f'<text x="{left}" y="{top}" fill="{colours[stage]}">{name}</text>'
    return text


@dataclass(frozen=True, slots=True)
class _Axes:
    """What the frame of a plot stands for: the lowest and highest value, the last epoch.

    `top` is where the plot begins in the picture, in pixels.
    """

    low: float
    high: float
    last: int
    top: int

    def point(self, epoch: int, value: float) -> str:
        """Where a value is drawn."""
        epochs = max(self.last - 1, 1)
        right = (epoch - 1) / epochs
        span = self.high - self.low
        up = (value - self.low) / span
        x = _LEFT + _WIDTH * right
        y = self.top + _TOP + _HEIGHT * (1 - up)
        return f"{x:.1f},{y:.1f}"


def _plot(
    entries: Sequence[Entry],
    colours: Mapping[str, str],
    curves: Mapping[str, str],
    title: str,
    top: int,
) -> str:
    """A frame with one curve for each stage and each name in `curves`, which gives its style."""
    axes = _axes(entries, list(curves), top)
    drawn = _frame(title, axes)
    for stage, colour in colours.items():
        for name, style in curves.items():
            drawn += _curve(
                entries, stage, name, f'stroke="{colour}" stroke-width="1.5"{style}', axes
            )
    return drawn


def _axes(entries: Sequence[Entry], names: Sequence[str], top: int) -> _Axes:
    values: list[float] = []
    for name in names:
        values += [entry[name] for entry in entries if entry[name] is not None]
    low, high = 0.0, 1.0
    if values:
        low, high = min(values), max(values)
    if high <= low:
        high = low + 1.0
    last = max((entry["epoch"] for entry in entries), default=1)
    return _Axes(low, high, last, top)


def _curve(entries: Sequence[Entry], stage: str, name: str, stroke: str, axes: _Axes) -> str:
    points = []
    for entry in entries:
        value = entry[name]
        if value is not None and str(entry["stage"]) == stage:
            points.append(axes.point(entry["epoch"], value))
    return f'<polyline points="{" ".join(points)}" fill="none" {stroke}/>'


def _frame(title: str, axes: _Axes) -> str:
    top = axes.top + _TOP
    bottom = top + _HEIGHT
    right = _LEFT + _WIDTH
    return (
        f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'fill="none" stroke="#bbb"/>'
        f'<text x="{_LEFT}" y="{top - 8}">{escape(title)}</text>'
        f'<text x="{_LEFT - 6}" y="{top + 10}" text-anchor="end">{axes.high:.3g}</text>'
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">{axes.low:.3g}</text>'
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">epoch {axes.last}</text>'
    )
