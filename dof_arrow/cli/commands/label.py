"""`dof label`: give a dataset new labels; its vectors stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, described, describing, matching, spoken
from dof_arrow.cli.terminal import Terminal
from dof_arrow.progress import size


@click.command()
@click.argument("file", type=DATASET)
@click.option("-o", "--out", required=True, type=DATASET, help="The new file.")
@describing(
    table="A CSV, Parquet, Arrow or Excel table with a row for each record "
    "[default: the columns of FILE].",
    key="The table's column of names or ids.",
)
@matching
@click.option(
    "--target",
    multiple=True,
    metavar="NAME",
    help="What the label is to be called; without --label, a column of FILE that becomes a target.",
)
@click.option(
    "--id-key",
    type=click.Path(path_type=Path),
    help="The key for pseudonyms that FILE was made with.",
)
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="What FILE was made of, where the table has no whole names.",
)
@click.option(
    "--labels-only",
    is_flag=True,
    help="Write ids and labels alone, for ds.join; no vectors.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@spoken
def label(
    terminal: Terminal, file: Path, out: Path, labels_only: bool, overwrite: bool, **options: Any
) -> int:
    """Write FILE with labels, groups or splits of a table; its vectors are copied as they are.

    The table's keys are names of inputs, as for dof extract, or the ids of FILE; of slides, their
    names: what the table says of a bag is said of all its rows.
    """
    from dof_arrow.rewrite.label import planned

    own = options["label"] or options["target"]
    given = {name: value for name, value in described({**options, "label": own}).items()}
    given["label"] = options["label"]
    known = {name: value for name, value in given.items() if value not in (None, ())}
    with terminal.busy("reading"):
        plan = planned(file, **known)
        report = plan.report
    with terminal.busy(f"writing {out}"):
        if labels_only:
            plan.write_labels(out, overwrite=overwrite)
            written = out.stat().st_size
        else:
            written = plan.write(out, overwrite=overwrite).size
    rows = len(plan.data)
    value = {"path": str(out), "rows": rows, "bytes": written, "report": report.to_json()}
    terminal.result(value, f"{out}: {rows:,} rows, {size(written)}")
    for line in report.lines():
        terminal.say(line)
    use = f'dof.open(…).join("{out}")' if labels_only else f"dof train {out} -o head.onnx"
    terminal.say(f"Next: {use}")
    return DONE
