"""`dof reidentify`: which input or group a pseudonym is of, for the owner of the key."""

from __future__ import annotations

from pathlib import Path

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.terminal import Terminal

_KINDS = {"id": "inputs", "bag": "bags", "group": "groups", "failed": "failed inputs"}


@click.command()
@click.argument("file", type=DATASET)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="A CSV file for the pairs."
)
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="What FILE was made of; the names of its inputs are compared.",
)
@click.option(
    "--names",
    type=click.Path(path_type=Path),
    metavar="LIST.txt",
    help="A text file of names of inputs or groups, one a line.",
)
@click.option(
    "--id-key",
    type=click.Path(path_type=Path),
    help="The key for pseudonyms that FILE was made with.",
)
@click.option("--site", metavar="NAME", help="The site that FILE was extracted with.")
@click.option("--overwrite", is_flag=True, help="Replace the output.")
@spoken
def reidentify(
    terminal: Terminal,
    file: Path,
    out: Path,
    source: Path | None,
    names: Path | None,
    id_key: Path | None,
    site: str | None,
    overwrite: bool,
) -> int:
    """Write which of given names stand behind the pseudonyms of FILE: kind, pseudonym, name.

    Only the key makes them again. The list is as secret as the names; others cannot read the file.
    """
    from dof_arrow.rewrite.name_list import names_in
    from dof_arrow.rewrite.reidentify import reidentify, write_pairs

    pairs = reidentify(
        file,
        source=source,
        names=[] if names is None else names_in(names),
        id_key=id_key,
        site=site,
    )
    write_pairs(pairs, out, overwrite=overwrite)
    found = {}
    for each in pairs["kind"].value_counts().to_pylist():
        found[each["values"]] = each["counts"]
    kinds = {kind: text for kind, text in _KINDS.items() if kind != "bag" or kind in found}
    told = ", ".join(f"{found.get(kind, 0):,} {text}" for kind, text in kinds.items())
    terminal.result({"path": str(out), **found}, f"{out}: {told}")
    return DONE
