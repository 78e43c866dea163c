"""Options as keyword arguments, for editors and type checkers.

Written by `python -m tests.support.typed_options`: change the dataclasses instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from dof_arrow.format.spec.preprocessing import Fit
    from dof_arrow.loader.options import Array, Balance
    from dof_arrow.loader.raw.options import Augment
    from dof_arrow.sources.asked import Kind


class PicturesOptions(TypedDict, total=False):
    """Which pictures or clips are loaded, what is known of them, and how they are decoded."""

    table: str | PathLike[str] | None
    """A CSV, Parquet, Arrow or Excel file with a row for each input; it needs `key`. A sheet of a
    workbook is named as in `meta.xlsx#Sheet2`. By default the columns that the source has itself:
    those of a Parquet file of pictures, or attributes of DICOM files."""

    key: str | None
    """The column of the table that names the inputs: by relative name, file name, or file name
    without its suffix."""

    match: str | Sequence[str]
    """How names in the key column are matched further, where they find no input as they are:
    `case`, `folder`, `suffix`, `padding`, or several of these; see `sources.table_keys`."""

    start: str | None
    """The column of the table that says where each row's segment of its clip starts, in seconds,
    `mm:ss` or `hh:mm:ss`, with fractions; an empty cell is the clip's begin. Several rows may name
    one clip then; each is an input of its own: what is shown from its start on until its end."""

    end: str | None
    """The column that says where it ends; an empty cell is the clip's end."""

    label: str | Sequence[str] | None
    """The column to be learned, or several; `folder`: the first folder of each input's name is its
    class."""

    group: str | None
    """The column of what must stay on one side of a split, such as the patient."""

    keep: str | Sequence[str]
    """Further columns to copy into the output, in a text parted by commas; no other column is
    copied."""

    kind: Kind | Mapping[str, Kind] | None
    """What labels are: a `number`, one of some `classes`, or `several` classes at once. By default
    told by the cells: numbers of which more than 20 differ are a number. As all rules for labels,
    for all of them, or in a mapping by column."""

    classes: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None
    """All classes, in their order; by default they are sorted. In a text parted by commas."""

    map: str | Mapping[str, str | None] | Mapping[str, Mapping[str, str | None]] | None
    """What cells are called instead, by patterns as of file names that are tried in order, as
    `{"COVID*": "covid", "todo": None}`; None is missing. Comes before everything else."""

    missing: str | Sequence[str] | Mapping[str, str | Sequence[str]]
    """Words that stand for a missing cell, beside those that pandas knows: `NA`, `NaN`, `null`,
    `None` and so on."""

    separator: str | Mapping[str, str]
    """What stands between `several` classes in one cell."""

    encoding: str | None
    """The encoding of a CSV table, such as `latin-1`; by default UTF-8, or UTF-16 with its mark."""

    pictures: str | None
    """Which pictures are meant, where a container such as a tar archive holds several kinds."""

    split: str | Mapping[str, float] | None
    """A column, or fractions as `"train=0.8,valid=0.2"` or a mapping; they never part a group."""

    seed: int
    """The seed of a split by fractions."""

    size: tuple[int, int] | int | None
    """(height, width) or one side that all are resized to, as extraction does it. Without it all
    must be as large as the first."""

    fit: Fit | None
    """How pictures of other proportions fit into `size`: `crop` (the default), `pad`, `squash`."""

    mode: Literal["RGB", "L"]
    """Colours, or grey levels."""

    dtype: Literal["uint8", "float32"]
    """Numbers 0 to 255 as uint8, or 0 to 1 as float32, which a loader can `normalize`."""

    draft: int | None
    """JPEG is decoded at a smaller size at once, with sides of at least so many pixels."""

    clips: bool | None
    """Whether inputs are clips, where neither their names nor the options of clips say it."""

    fps: float | None
    """Frames of a clip that are taken in a second; without it, each frame once."""

    max_frames: int | None
    """Of these the first so many; batches are padded."""

    frames: int | None
    """So many frames, spread evenly over each clip."""

    on_error: Literal["fail", "skip"]
    """What becomes of what cannot be read: an error, or it is left out and listed in `errors`."""

    max_pixels: int | None
    """Pictures with more pixels are refused; by default those that memory is too small for."""

    allow: Sequence[str]
    """What is read that would else be refused, see `dof_arrow.media.dicom.PERMISSIONS`."""


class PictureLoaderOptions(TypedDict, total=False):
    """How batches of pictures or clips are made."""

    batch_size: int
    """Pictures or clips in a batch."""

    shuffle: bool
    """Whether each epoch has a new order, which follows from `seed` and the number of the epoch."""

    seed: int
    """Where everything random starts: the same seed gives the same batches."""

    feature: str | None
    """The feature column, by default the primary one."""

    target: str | None
    """The column to learn. `picture` (of clips: `clip`) gives the inputs themselves."""

    columns: Sequence[str]
    """Further columns that come with each batch, in a dict. A clip has those of its first row."""

    normalize: str | tuple[Array, Array] | None
    """A split whose mean and standard deviation become 0 and 1, or a pair (mean, deviation)."""

    rank: int
    """Which of the `world_size` processes this is, counted from 0."""

    world_size: int
    """How many processes share the batches of an epoch."""

    drop_last: bool
    """Whether a last batch that is not full is left out."""

    balance: Balance | None
    """A column whose classes are drawn equally often, or `{column: share of the positive class}`,
    or `{column: {class: share, ...}}`. Rare classes are drawn more than once, so every row is
    used."""

    uniform: Mapping[str, int] | None
    """`{column: bins}`: the values of a number are drawn equally often from so many equal bins."""

    weights: str | Sequence[float] | Array | None
    """A column, or one number for each row: rows are drawn in proportion to it."""

    group: str | None
    """A column whose equal values stay together, in the order of the file."""

    views: Literal["all", "first", "random"]
    """`all` rows, the `first` view of each record, or a `random` view of each in each epoch."""

    workers: int | None
    """Processes that decode, by default threads of this one; 0 decodes in the calling thread.
    Batches are the same with any number."""

    augment: Augment
    """What happens to each picture anew in each epoch: an `Augmentation`, its JSON form in one
    mapping or in several, the name of a preset (`xray`, `photo`), a JSON file or JSON text. The
    frames of a clip are all treated alike."""
