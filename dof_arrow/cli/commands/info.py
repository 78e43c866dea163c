"""Commands that use datasets: info, validate, fuse, predict, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import spoken
from dof_arrow.cli.terminal import Terminal, table
from dof_arrow.progress import size


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@spoken
def info(terminal: Terminal, file: Path) -> int:
    """Say what FILE holds and how it came to be."""
    from dof_arrow.dataset import dataset

    ds = dataset.open(file)
    terminal.result(dataset.describe(ds), _portrait(ds))
    terminal.say(f"Next: dof validate --deep {file}")
    return DONE


def _portrait(ds: Any) -> str:
    about = ds.metadata
    rows: list[tuple[str, ...]] = [
        ("rows", f"{len(ds):,}"),
        ("size", size(ds.size)),
        ("uuid", about.uuid),
        ("title", about.info.title or "none; set one with dof edit"),
        ("licence", about.info.license or "not stated"),
    ]
    if about.parts:
        rows.insert(
            1,
            (
                "parts",
                f"{len(about.parts):,} files, of up to {max(p.rows for p in about.parts):,} rows",
            ),
        )
    for name, core in about.cores.items():
        rows.append(
            (
                f"core of {name}",
                f"{core.name}, licence {core.license or 'not stated'}, "
                f"sha256 {core.sha256[:16]}…, cut at {core.cut or 'its output'}",
            )
        )
    for name, target in about.targets.items():
        rows.append((f"target {name}", f"{target.kind} {', '.join(target.classes)}".strip()))
    rows += [
        (f"split {name}", f"{s.rows:,} rows, {s.records:,} records")
        for name, s in about.splits.items()
    ]
    if about.errors:
        rows.append(("failed inputs", f"{about.errors.rows:,}"))
    columns = [
        (name, c.role, f"{c.dtype}{list(c.shape) or ''}", c.layout)
        for name, c in about.columns.items()
    ]
    return "\n".join(
        [str(ds.path), "", table(rows), "", table([("column", "role", "type", "layout"), *columns])]
    )
