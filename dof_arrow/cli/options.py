"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from dof_arrow.cli.pandas_unasked import keep_pandas_out
from dof_arrow.cli.terminal import Terminal
from dof_arrow.errors import UsageError
from dof_arrow.progress import heard_by
from dof_arrow.storage.addresses import Address, location

Command = Callable[..., Any]

_PREPROCESSINGS = (
    "imagenet, imagenet-cubic, clip, caffe, inception, vit, xray, unit, raw, at the size that the "
    'core takes; or JSON, text or a file, such as {"mode": "RGB", "fit": "squash", '
    '"resize": [32, 32], "scale": 0.00392}.'
)


# `--label` and `--split` where inputs lie in folders, and where all that is known is a table.
_FOLDERS = (
    click.option(
        "--label",
        multiple=True,
        metavar="COLUMN|folder",
        help="The target: a column, or `folder` for class folders; repeatable.",
    ),
    click.option(
        "--split", metavar="COLUMN|folder|train=0.8,…", help="A column, `folder`, or fractions."
    ),
)
_COLUMNS = (
    click.option("--label", multiple=True, metavar="COLUMN", help="The target; repeatable."),
    click.option("--split", metavar="COLUMN", help="The split of each row."),
)


class DatasetPath(click.Path):
    """A dataset on this machine, or at an address such as `s3://bucket/x.parquet`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A path, or an address, which is shown without what is secret in it."""
        place = location(value)
        return place if isinstance(place, Address) else super().convert(value, param, ctx)


DATASET = DatasetPath(path_type=Path)


def spoken(function: Command) -> Command:
    """Give a command --json, --quiet and --debug, and a Terminal as its first argument."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks.")
    @click.option("--debug", is_flag=True, help="Show where an error came from.")
    @functools.wraps(function)
    def command(*args: Any, as_json: bool, quiet: bool, debug: bool, **options: Any) -> Any:
        if click.get_current_context().obj:  # the process is ours alone
            keep_pandas_out()
        terminal = Terminal(quiet=quiet, as_json=as_json)
        with heard_by(terminal):
            return function(terminal, *args, **options)

    return command


def running(function: Command) -> Command:
    """The option that says what runs a model."""
    return click.option(
        "--provider",
        metavar="cpu|openvino|cuda|…",
        default="cpu",
        show_default=True,
        help="What runs cores (dof doctor lists what is here, and measures it).",
    )(function)


def making(function: Command) -> Command:
    """The options that say how a core is made of a model."""
    options = [
        click.option(
            "--preprocess",
            metavar="NAME|SPEC.json",
            help=f"What is done to pictures, if the core does not say it: {_PREPROCESSINGS}",
        ),
        click.option(
            "--fit",
            type=click.Choice(["crop", "pad", "squash"]),
            help="How a picture is given its size.",
        ),
        click.option(
            "--decode",
            type=click.Choice(["full", "reduced"]),
            help="Whether JPEGs may be decoded smaller, which is faster and changes features.",
        ),
        click.option(
            "--at", metavar="TENSOR", help="Where to cut (dof headless --list shows the choices)."
        ),
        click.option("--pool", metavar="1x1|2x2|KxK|none", help="How a feature map is averaged."),
        click.option(
            "--size",
            metavar="H,W",
            help="The size of pictures, if the model leaves it open; one number: a square.",
        ),
        click.option(
            "--grey",
            is_flag=True,
            default=None,
            help="One grey channel, if the model leaves its channels open.",
        ),
    ]
    return _with(options, function)


def matching(function: Command) -> Command:
    """The option that says how keys of a table are matched with names."""
    return click.option(
        "--match",
        metavar="case,folder,…",
        help="Further readings of keys: case, folder, suffix, padding.",
    )(function)


def describing(*, table: str, key: str, folders: bool = False) -> Callable[[Command], Command]:
    """The options that say what is known of inputs; `described` makes arguments of them.

    `table` and `key` are what the help says of these two; `folders`: whether labels and splits may
    be those of folders, and splits fractions.
    """
    label, split = _FOLDERS if folders else _COLUMNS
    options = [
        click.option("--table", type=click.Path(path_type=Path), metavar="FILE", help=table),
        click.option("--key", metavar="COLUMN", help=key),
        label,
        click.option(
            "--group", metavar="COLUMN", help="What must stay on one side of a split: the patient."
        ),
        split,
        click.option(
            "--keep",
            multiple=True,
            metavar="A,B",
            help="More columns to copy; nothing else is copied.",
        ),
        click.option(
            "--kind",
            multiple=True,
            metavar="number|classes|several",
            help="What labels are [default: by their cells].",
        ),
        click.option(
            "--classes", multiple=True, metavar="A,B", help="All classes of labels, in their order."
        ),
        click.option(
            "--map",
            multiple=True,
            metavar="PATTERN=NAME,…",
            help="What cells of labels are called; no name: missing.",
        ),
        click.option(
            "--missing", multiple=True, metavar="A,B", help="More words for a missing label."
        ),
        click.option(
            "--separator",
            multiple=True,
            metavar="TEXT",
            help="What parts several classes in a cell [default: |].",
        ),
        click.option("--encoding", metavar="NAME", help="Of a CSV table [default: UTF-8]."),
    ]
    return functools.partial(_with, options)


def described(given: dict[str, Any]) -> dict[str, Any]:
    """Options of `describing` as arguments: what is said of one column as `COLUMN:…`, by column."""
    from dof_arrow.sources.asked import by_column, parted, patterns

    found = dict(given)
    split = given.get("split") or ""
    kept = [name for text in given["keep"] for name in (text, *parted(text))]
    columns = [*given["label"], given.get("group"), "" if "=" in split else split, *kept]
    known = [name for name in columns if name]
    for option in ("kind", "classes", "map", "missing", "separator"):
        texts = found.pop(option)
        if texts:
            found[option] = by_column(option, texts, known)
    if "map" in found:
        found["map"] = {column: patterns(text) for column, text in found["map"].items()}
    return found


def paired(option: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What is given as `NAME=VALUE`, in order; UsageError for anything else."""
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name or not value:
            raise UsageError("a name and a value are needed", option, "NAME=VALUE", text)
        yield name, value


def reading(function: Command) -> Command:
    """The options that say which pictures may be read."""
    options = [
        click.option(
            "--max-pixels",
            type=click.IntRange(1),
            metavar="N",
            help="Refuse larger pictures [default: by memory].",
        ),
        click.option(
            "--allow",
            multiple=True,
            metavar="WHAT",
            help="Read what is refused otherwise; the message names it.",
        ),
    ]
    return _with(options, function)


def naming(function: Command) -> Command:
    """The options that say how the inputs of a dataset were named when it was extracted."""
    options = [
        click.option(
            "--table", type=click.Path(path_type=Path), help="The table that named the pictures."
        ),
        click.option("--key", metavar="COLUMN", help="The table's column of file names."),
        click.option("--start", metavar="COLUMN", help="The table's column of segments' starts."),
        click.option("--end", metavar="COLUMN", help="The table's column of segments' ends."),
        click.option(
            "--id-key",
            type=click.Path(path_type=Path),
            help="The key that made the pseudonyms.",
        ),
        click.option(
            "--site", metavar="NAME", help="The site that goes into the ids, as at extraction."
        ),
    ]
    return _with(options, function)


def judging(function: Command) -> Command:
    """The options that train and evaluate share."""
    options = [
        click.option(
            "--target",
            metavar="COLUMN",
            help="What is to be predicted, where there are several targets.",
        ),
        click.option(
            "--seed",
            type=int,
            default=0,
            show_default=True,
            metavar="N",
            help="What all draws start from.",
        ),
        click.option(
            "--by",
            multiple=True,
            metavar="COLUMN",
            help="Scores for each value of it too; repeatable.",
        ),
        click.option(
            "--report", type=click.Path(path_type=Path), help="Write all scores as JSON too."
        ),
    ]
    return _with(options, function)


def _with(options: Sequence[Command], function: Command) -> Command:
    """A command with these options, which its help lists in this order."""
    for option in reversed(options):
        function = option(function)
    return function
