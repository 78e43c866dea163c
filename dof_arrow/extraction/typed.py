"""Options as keyword arguments, for editors and type checkers.

Written by `python -m tests.support.typed_options`: change the dataclasses instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from dof_arrow.format.spec.metadata import Preprocessing
    from dof_arrow.format.spec.preprocessing import Decode, Fit
    from dof_arrow.media.augment import Augmentation
    from dof_arrow.media.frames import Sampling
    from dof_arrow.sources.asked import Kind


class ExtractKeywords(TypedDict, total=False):
    """How pictures or clips are run through cores, and what is written of them.

    Raises UsageError for a choice that there is not, or a number that is too small.
    """

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
    one clip then, and each is an input of its own: what is shown from its start until its end."""

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

    preprocess: str | Preprocessing | None
    """What is done to a picture before the core sees it: the name of a preset such as `imagenet`, a
    JSON file or text, or a `Preprocessing`. By default what the core itself says."""

    fit: Fit | None
    """How a picture is given the size that the core takes: `crop`, `pad`, `squash` or `none`."""

    decode: Decode | None
    """`reduced` lets JPEGs be decoded as small as the resize allows: faster, other features."""

    at: str | None
    """The tensor of the model at which its head is cut off, by default found by the program."""

    pool: str | None
    """How a feature map is averaged: `1x1`, `2x2`, `KxK` cells, or `none`."""

    size: str | int | Sequence[int] | None
    """Height and width of the pictures that the model takes, where it leaves them open: `"H,W"`,
    two numbers, or one for both."""

    grey: bool
    """Whether a model that leaves its channels open takes one grey channel."""

    threads: int
    """Threads on which each worker runs a core. A `Core` brings its own number."""

    provider: str
    """What runs cores: `cpu`, `openvino`, or an execution provider of ONNX Runtime such as `cuda`.
    A `Core` brings its own."""

    split: str | Mapping[str, float] | None
    """A column with the split of each input; `folder`, where the first folder of each name is its
    split, as `train`; or fractions, as `{"train": 0.8, "test": 0.2}` or as
    the text `train=0.8,test=0.2`, which make splits that never part a group. Then a keyed hash of
    the group, or of an input without one, says which split it is in: with one key a person is in
    the same split in every dataset."""

    split_exact: bool
    """Whether fractions are met as closely as can be, in each class too. Who is in which split
    then depends on all inputs, and changes when some are added."""

    split_from: str | os.PathLike[str] | None
    """A dataset, file or directory: groups and inputs that it has are in the split that they are
    in there, others as `split` says, which then gives fractions."""

    ids: Literal["pseudonym", "name"]
    """What inputs and groups are called in the output: pseudonyms, or their own names."""

    id_key: str | os.PathLike[str] | bytes | None
    """The secret key for pseudonyms: 32 bytes, or the file that holds it. By default the user's own
    file, which is made on first use."""

    site: str | None
    """A name that goes into the ids of all inputs: so two hospitals with one key may both have a
    `train/1.png`. Groups are not touched: a person who is at both is one."""

    dtype: Literal["float32", "float16"]
    """The type of the features."""

    layout: Literal["mapped", "compact"]
    """`mapped` features are read in place; `compact` ones are compressed and take less room."""

    order: Literal["pseudonym", "source"] | None
    """What rows stand in the order of: their pseudonyms, or the source. In a source's order, file
    names, sizes or times sorted in the same way tell whose row is whose. By default
    `pseudonym`, but `source` where ids are names: there is nothing to hide then."""

    facts: Literal["summary", "exact"]
    """What is told of the pictures' sizes, modes, formats and such: how many inputs are in each
    class, where at least five are; or `exact`, those of each row, by which a picture may be
    recognised."""

    partition: str | None
    """Which of several processes this is, as `2/4`: each extracts some of the inputs into a file of
    its own, and `merge` puts them together to what one process would have written."""

    overwrite: bool
    """Whether an output that is there, or an unfinished run of another kind, is replaced."""

    batch_size: int | None
    """Rows that a core runs at a time. By default 2; with a provider on a device, such as `cuda`,
    up to 256, as many as it holds."""

    workers: int | None
    """Inputs worked on at a time, each from file to features by one thread. By default as many as
    there are processors, divided by `threads`."""

    engine: Literal["local", "ray"]
    """What computes: `local` threads, or the machines of a `ray` cluster; the bytes are the same.
    With `ray`, `workers` counts actors, by default as many as the cluster has room for."""

    address: str | None
    """The address of the Ray cluster. By default that in RAY_ADDRESS, else one is started on this
    machine, for this run alone."""

    actor_cpus: int | None
    """Processors of each actor on Ray. By default as many as `threads`."""

    actor_gpus: float | None
    """GPUs, or the part of one, of each actor on Ray. By default 1, and none with the providers
    `cpu` and `openvino`. Where it is not 0, pictures are read by the other processors of the
    cluster."""

    max_errors: int | None
    """How many inputs may fail before the run stops. By default any number: failures are listed in
    `Dataset.errors`."""

    max_pixels: int | None
    """Pictures with more pixels are refused. By default those that memory cannot hold."""

    allow: Sequence[str]
    """What is read though it is refused otherwise: `burned-in` (DICOM files that say that names are
    burned into their pixels), `deflated` (DICOM files that are compressed as a whole)."""

    views: int
    """Rows of each input: the plain one, and `views - 1` augmented ones."""

    augment: str | Augmentation | None
    """What happens to augmented views: the name of a preset (`xray`, `photo`), a JSON file or text,
    or an `Augmentation`."""

    clips: Sampling | bool | None
    """Whether the inputs are clips, with a row for each frame or window; or, as a `Sampling`, which
    frames are taken. By default told by the names of the files."""

    fps: float | None
    """Of a clip, the frame shown each 1 / fps seconds is taken. By default each frame."""

    max_frames: int | None
    """Of a clip, only the first so many of these frames are taken."""

    window: int | None
    """Frames that make one row together, for cores with a time axis."""

    stride: int | None
    """Frames from one window to the next. By default windows do not overlap."""

    crop: str | None
    """What is seen of each frame of a clip: `left,top,right,bottom` in pixels, or `all`. By default
    the regions that a DICOM file names, else all."""

    on_break: Literal["keep", "fail"]
    """What becomes of a damaged clip: `fail` lists it as failed, `keep` keeps what precedes the
    damage."""
