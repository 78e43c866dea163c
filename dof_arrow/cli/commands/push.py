"""`dof push`: put a dataset on a hub or a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import DATASET, spoken
from dof_arrow.cli.terminal import Terminal, table
from dof_arrow.progress import size

if TYPE_CHECKING:
    from dof_arrow.publish.push import Pushed


@click.command()
@click.argument("dataset", type=DATASET)
@click.argument("target", type=DATASET)
@click.option("--public", is_flag=True, help="For everybody; asks for licence and contact.")
@click.option("--with-core", is_flag=True, help="Publish the cores too, with their licences.")
@click.option(
    "--core",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="CORE.onnx",
    help="Where a core is that is not beside the dataset; repeatable.",
)
@click.option(
    "--layout",
    type=click.Choice(["compact", "mapped"]),
    default="compact",
    show_default=True,
    help="Small for slow links, or for use in place.",
)
@click.option(
    "--card", type=click.Path(path_type=Path), metavar="card.html", help="A card to put beside it."
)
@click.option("--dry-run", is_flag=True, help="Show all that would be sent; send nothing.")
@spoken
def push(
    terminal: Terminal, dataset: Path, target: Path, public: bool, dry_run: bool, **options: Any
) -> int:
    """Put DATASET at TARGET: hf://OWNER/NAME, a folder at s3://, gs:// or az://, or one on this
    machine. A file for each split, README.md, croissant.json; private unless --public is given."""
    from dof_arrow.publish.push import push as send

    done = send(dataset, target, public=public, dry_run=dry_run, **options)
    terminal.result(_value(done, dry_run), *_lines(done, dry_run))
    if dry_run:
        terminal.documents(done.texts)
        terminal.say("Nothing was sent. The same command without --dry-run sends it.")
        return DONE
    if public and done.commit is None:
        terminal.say("Who may read there is set at the store itself: nothing was changed.")
    terminal.say(f"Next: dof pull {target} -o NAME.dof.parquet")
    return DONE


def _value(done: Pushed, dry_run: bool) -> dict[str, Any]:
    files = []
    for file in done.files:
        sent = file.name in done.sent
        files.append(
            {"name": file.name, "bytes": file.size, "sha256": file.sha256, "sent": sent},
        )
    value = {
        "address": done.address,
        "public": done.public,
        "commit": done.commit,
        "audit": done.audit,
        "files": files,
    }
    return {**value, "texts": dict(done.texts)} if dry_run else value


def _lines(done: Pushed, dry_run: bool) -> Iterator[str]:
    rows = [("file", "size", "" if dry_run else "sent")]
    for file in done.files:
        sent = "" if dry_run else "yes" if file.name in done.sent else "there already"
        rows.append((file.name, size(file.size), sent))
    yield from table(rows)
    yield ""
    yield f"audit: {done.audit}"
    if dry_run:
        return
    if done.commit is not None:
        readers = "for everybody to read" if done.public else "private"
        yield f"{done.address}: {readers}, commit {done.commit[:12]}"
    if not done.sent:
        yield f"{done.address}: complete and unchanged, nothing to do"
    else:
        yield f"{done.address}: {len(done.sent)} of {len(done.files)} files sent, all compared"
