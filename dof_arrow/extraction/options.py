"""What can be asked of `extract`: each option with its meaning, and the checks of their values."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dof_arrow.cores.graph.runtime import CPU
from dof_arrow.errors import UsageError
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import Decode, Fit
from dof_arrow.media.augment import Augmentation
from dof_arrow.media.frames import Sampling
from dof_arrow.sources.asked import TableOptions

_CHOICES = {
    "ids": ("pseudonym", "name"),
    "dtype": ("float32", "float16"),
    "layout": ("mapped", "compact"),
    "order": (None, "pseudonym", "source"),
    "facts": ("summary", "exact"),
    "engine": ("local", "ray"),
}
_LEAST = {
    "batch_size": 1,
    "workers": 1,
    "threads": 1,
    "max_errors": 0,
    "actor_cpus": 1,
    "actor_gpus": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExtractOptions(TableOptions):
    """How pictures or clips are run through cores, and what is written of them.

    Raises UsageError for a choice that there is not, or a number that is too small.
    """

    # How a core is made of a model

    preprocess: str | Preprocessing | None = None
    """What is done to a picture before the core sees it: the name of a preset such as `imagenet`, a
    JSON file or text, or a `Preprocessing`. By default what the core itself says."""

    fit: Fit | None = None
    """How a picture is given the size that the core takes: `crop`, `pad`, `squash` or `none`."""

    decode: Decode | None = None
    """`reduced` lets JPEGs be decoded as small as the resize allows: faster, other features."""

    at: str | None = None
    """The tensor of the model at which its head is cut off, by default found by the program."""

    pool: str | None = None
    """How a feature map is averaged: `1x1`, `2x2`, `KxK` cells, or `none`."""

    size: str | int | Sequence[int] | None = None
    """Height and width of the pictures that the model takes, where it leaves them open: `"H,W"`,
    two numbers, or one for both."""

    grey: bool = False
    """Whether a model that leaves its channels open takes one grey channel."""

    threads: int = 1
    """Threads on which each worker runs a core. A `Core` brings its own number."""

    provider: str = CPU
    """What runs cores: `cpu`, `openvino`, or an execution provider of ONNX Runtime such as `cuda`.
    A `Core` brings its own."""

    # What is known of the inputs, beside `TableOptions`

    split: str | Mapping[str, float] | None = None
    """A column with the split of each input; `folder`, where the first folder of each name is its
    split, as `train`; or fractions, as `{"train": 0.8, "test": 0.2}` or as
    the text `train=0.8,test=0.2`, which make splits that never part a group. Then a keyed hash of
    the group, or of an input without one, says which split it is in: with one key a person is in
    the same split in every dataset."""

    split_exact: bool = False
    """Whether fractions are met as closely as can be, in each class too. Who is in which split
    then depends on all inputs, and changes when some are added."""

    split_from: str | os.PathLike[str] | None = None
    """A dataset, file or directory: groups and inputs that it has are in the split that they are
    in there, others as `split` says, which then gives fractions."""

    # What is written

    ids: Literal["pseudonym", "name"] = "pseudonym"
    """What inputs and groups are called in the output: pseudonyms, or their own names."""

    id_key: str | os.PathLike[str] | bytes | None = None
    """The secret key for pseudonyms: 32 bytes, or the file that holds it. By default the user's own
    file, which is made on first use."""

    site: str | None = None
    """A name that goes into the ids of all inputs: so two hospitals with one key may both have a
    `train/1.png`. Groups are not touched: a person who is at both is one."""

    dtype: Literal["float32", "float16"] = "float32"
    """The type of the features."""

    layout: Literal["mapped", "compact"] = "mapped"
    """`mapped` features are read in place; `compact` ones are compressed and take less room."""

    order: Literal["pseudonym", "source"] | None = None
    """What rows stand in the order of: their pseudonyms, or the source. In a source's order, file
    names, sizes or times sorted in the same way tell whose row is whose. By default
    `pseudonym`, but `source` where ids are names: there is nothing to hide then."""

    facts: Literal["summary", "exact"] = "summary"
    """What is told of the pictures' sizes, modes, formats and such: how many inputs are in each
    class, where at least five are; or `exact`, those of each row, by which a picture may be
    recognised."""

    partition: str | None = None
    """Which of several processes this is, as `2/4`: each extracts some of the inputs into a file of
    its own, and `merge` puts them together to what one process would have written."""

    overwrite: bool = False
    """Whether an output that is there, or an unfinished run of another kind, is replaced."""

    # How inputs are read and run

    batch_size: int | None = None
    """Rows that a core runs at a time. By default 2; with a provider on a device, such as `cuda`,
    up to 256, as many as it holds."""

    workers: int | None = None
    """Inputs worked on at a time, each from file to features by one thread. By default as many as
    there are processors, divided by `threads`."""

    engine: Literal["local", "ray"] = "local"
    """What computes: `local` threads, or the machines of a `ray` cluster; the bytes are the same.
    With `ray`, `workers` counts actors, by default as many as the cluster has room for."""

    address: str | None = None
    """The address of the Ray cluster. By default that in RAY_ADDRESS, else one is started on this
    machine, for this run alone."""

    actor_cpus: int | None = None
    """Processors of each actor on Ray. By default as many as `threads`."""

    actor_gpus: float | None = None
    """GPUs, or the part of one, of each actor on Ray. By default 1, and none with the providers
    `cpu` and `openvino`. Where it is not 0, pictures are read by the other processors of the
    cluster."""

    max_errors: int | None = None
    """How many inputs may fail before the run stops. By default any number: failures are listed in
    `Dataset.errors`."""

    max_pixels: int | None = None
    """Pictures with more pixels are refused. By default those that memory cannot hold."""

    allow: Sequence[str] = ()
    """What is read though it is refused otherwise: `burned-in` (DICOM files that say that names are
    burned into their pixels), `deflated` (DICOM files that are compressed as a whole)."""

    # Several rows of an input

    views: int = 1
    """Rows of each input: the plain one, and `views - 1` augmented ones."""

    augment: str | Augmentation | None = None
    """What happens to augmented views: the name of a preset (`xray`, `photo`), a JSON file or text,
    or an `Augmentation`."""

    # Clips

    clips: Sampling | bool | None = None
    """Whether the inputs are clips, with a row for each frame or window; or, as a `Sampling`, which
    frames are taken. By default told by the names of the files."""

    fps: float | None = None
    """Of a clip, the frame shown each 1 / fps seconds is taken. By default each frame."""

    max_frames: int | None = None
    """Of a clip, only the first so many of these frames are taken."""

    window: int | None = None
    """Frames that make one row together, for cores with a time axis."""

    stride: int | None = None
    """Frames from one window to the next. By default windows do not overlap."""

    crop: str | None = None
    """What is seen of each frame of a clip: `left,top,right,bottom` in pixels, or `all`. By default
    the regions that a DICOM file names, else all."""

    on_break: Literal["keep", "fail"] = "fail"
    """What becomes of a damaged clip: `fail` lists it as failed, `keep` keeps what precedes the
    damage."""

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise UsageError(
                    f"no such choice for {name}",
                    expected=" or ".join(filter(None, known)),
                    found=str(value),
                )
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} must be at least {least}", found=str(value))
        if self.site is not None and not self.site.strip():
            raise UsageError("a site without a name", "--site", "a name", repr(self.site))
        self._check_split()
        self._check_engine()

    def _check_engine(self) -> None:
        """Raise UsageError where something is asked of a cluster, but none is to be used."""
        asked = {
            "--address": self.address,
            "--actor-cpus": self.actor_cpus,
            "--actor-gpus": self.actor_gpus,
        }
        given = [name for name, value in asked.items() if value is not None]
        if given and self.engine == "local":
            raise UsageError(
                "options of a Ray cluster, and the local engine",
                expected="--engine ray",
                found=", ".join(given),
                hint="Add --engine ray, or leave these options out.",
            )

    def _check_split(self) -> None:
        """Raise UsageError where it is said how to draw splits, but no fractions are given."""
        drawn = "=" in self.split if isinstance(self.split, str) else self.split is not None
        asked = {"--split-exact": self.split_exact, "--split-from": self.split_from is not None}
        for name, given in asked.items():
            if given and not drawn:
                raise UsageError(
                    f"{name} says how splits are drawn by fractions",
                    "--split",
                    "fractions, as train=0.8,test=0.2",
                    str(self.split or "nothing"),
                    f"Give fractions, or leave {name} out.",
                )

    @property
    def making(self) -> dict[str, Any]:
        """The options that make a core of a model, those that are not given left out."""
        names = (
            "preprocess",
            "fit",
            "decode",
            "at",
            "pool",
            "size",
            "grey",
            "threads",
            "provider",
        )
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value not in (None, False)}

    @property
    def sampling(self) -> Sampling:
        """Which frames are taken of inputs that are clips."""
        if isinstance(self.clips, Sampling):
            return self.clips
        return Sampling(
            fps=self.fps,
            max_frames=self.max_frames,
            window=self.window,
            stride=self.stride,
            crop=self.crop,
            on_break=self.on_break,
        )
