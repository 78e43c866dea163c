"""Raw pictures and clips in place of a dataset of features: the same loader, without a core."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.spec.metadata import Column, Metadata, Preprocessing
from dof_arrow.format.spec.split_names import standard_or_own
from dof_arrow.loader.options import from_keywords
from dof_arrow.loader.raw.asked import augmentation_of, fractions_of, preprocessing_of, sampling_of
from dof_arrow.loader.raw.live_decode import LiveDecoder
from dof_arrow.loader.raw.options import RawBatchOptions, RawOptions
from dof_arrow.loader.raw.picture_form import PictureForm
from dof_arrow.loader.raw.picture_table import metadata_of, picture_table
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.sampling.permutation import Rows
from dof_arrow.sources.asked import TableOptions
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Source
from dof_arrow.tables import dealt
from dof_arrow.tables.conditions import rows_where
from dof_arrow.tables.targets import by_name

if TYPE_CHECKING:
    from dof_arrow.loader.loader import Loader
    from dof_arrow.loader.raw.typed import PictureLoaderOptions, PicturesOptions

Array = NDArray[Any]

# What `open_source` makes of a path; a source of one's own has it already.
_OF_A_PATH = tuple(option.name for option in fields(TableOptions))


def pictures(
    source: str | os.PathLike[str] | Source, **options: Unpack[PicturesOptions]
) -> Pictures:
    """The pictures or clips at a path, or of any `Source`, to be loaded in batches as features are.

    The options are those of `dof_arrow.loader.raw.options.RawOptions`. Raises UsageError for
    options that are unknown or cannot be, SourceError for what cannot be read.
    """
    asked = from_keywords(RawOptions, options, "pictures")
    _check(asked)
    fractions, column = fractions_of(asked.split)
    sampling = sampling_of(source, asked)
    form = PictureForm(
        wanted=preprocessing_of(asked),
        dtype=asked.dtype,
        sampling=sampling,
        frames=asked.frames,
        reading=ReadingOptions(max_pixels=asked.max_pixels, allow=tuple(asked.allow)),
    )
    named: dict[str, Any] = {name: value for name, value in options.items() if name in _OF_A_PATH}
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        found: Source = open_source(path, split=column, clips=sampling is not None, **named)
    else:
        path = Path("pictures")
        found = source
        _refuse_columns(named)
    if not len(found):
        raise SourceError("no pictures", str(path), hint="Give the folder that holds them.")
    made = Pictures(
        path=path,
        source=found,
        form=form,
        table=picture_table(found, fractions, asked.seed),
        rows=np.arange(len(found)),
        skip=asked.on_error == "skip",
    )
    return _shaped(made)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Pictures or clips with what is known of them; slices, splits, filters and takes are Pictures
    too.

    Nothing is decoded before a batch asks for it. `table` has a row for each sample of `source`,
    and `rows` are those that are chosen. `errors` is what could not be read so far and was left
    out, by its name.
    """

    path: Path
    source: Source
    form: PictureForm
    table: pa.Table
    rows: Rows
    skip: bool = False
    workers: int | None = None
    errors: dict[str, SourceError] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.form.shape))
        columns = ", ".join(self.columns)
        return f"<Pictures {self.path.name}: {len(self):,}, {shape} {self.form.dtype}, {columns}>"

    @property
    def primary(self) -> str:
        """What the pictures themselves are called: `picture` or `clip`."""
        return "picture" if self.form.sampling is None else "clip"

    @property
    def columns(self) -> list[str]:
        """Names of what is known of each."""
        return list(self.table.column_names)

    @property
    def preprocessing(self) -> Preprocessing:
        """How they are decoded and fitted, as a core that is trained on them would declare it."""
        return self.form.wanted

    @property
    def metadata(self) -> Metadata:
        """What a file of features would say about itself: columns, targets, splits."""
        seen = Column(
            role="feature", dtype=self.form.dtype, shape=self.form.shape, layout="encoded"
        )
        return metadata_of(self.table, self.source.targets, self.primary, seen)

    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice | Sequence[int] | Sequence[bool] | Array) -> Pictures: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)):
            return self._row(int(key))
        if isinstance(key, slice):
            return replace(self, rows=self.rows[key])
        return self.take(key)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self._row(index) for index in range(len(self)))

    def take(self, indices: Sequence[int] | Sequence[bool] | Array) -> Pictures:
        """Those at these places, in this order; a mask of booleans takes where it is true.

        Raises UsageError for places that are not there.
        """
        chosen = np.asarray(indices)
        if not chosen.size:
            chosen = chosen.astype(np.int64)
        try:
            return replace(self, rows=self.rows[chosen])
        except IndexError:
            raise UsageError(
                "pictures that are not there",
                str(self.path),
                f"whole numbers 0 to {len(self) - 1}, or {len(self)} booleans",
                f"{chosen.dtype} {list(chosen.shape)}",
            ) from None

    def split(self, name: str) -> Pictures:
        """Those of one split: `train`, `valid`, `test` or the owner's own.

        Raises UsageError if there is no such split.
        """
        known = self.metadata.splits
        name = standard_or_own(name)
        if name not in known:
            raise UsageError(
                "no such split",
                str(self.path),
                ", ".join(known) or "none",
                name,
                'Name a column, or fractions: split="train=0.8,valid=0.2".',
            )
        of_each = self.to_arrow(["split"]).column(0).to_numpy()
        return self.take(np.asarray(of_each == name))

    def filter(self, condition: Any) -> Pictures:
        """Those for which a pyarrow expression over the columns is true, `pc.field("age") > 60`.

        Raises UsageError for a condition that cannot be evaluated.
        """
        table = by_name(self.to_arrow()).append_column("dof_row", pa.array(np.arange(len(self))))
        try:
            return self.take(rows_where(table, condition).column("dof_row").to_numpy())
        except (pa.ArrowException, TypeError) as error:
            raise UsageError(
                "this condition cannot be evaluated",
                str(self.path),
                ", ".join(self.columns),
                str(error).splitlines()[0][:200],
            ) from None

    def folds(
        self,
        k: int = 5,
        *,
        group: str | None = None,
        stratify: str | None = None,
        seed: int = 0,
    ) -> list[tuple[Pictures, Pictures]]:
        """`k` pairs (training, validation) as in `Dataset.folds`: no group is on both sides."""
        fold = dealt.folds(self, k, group, stratify, seed)
        return [(self.take(fold != number), self.take(fold == number)) for number in range(k)]

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """What is known of them as an Arrow table, without the pictures."""
        return self.table.select(list(columns or self.columns)).take(pa.array(self.rows))

    def loader(self, **options: Unpack[PictureLoaderOptions]) -> Loader:
        """Batches for training, `[k, h, w, c]`, of clips `[k, frames, h, w, c]`.

        Clips for which no number of `frames` was asked come as `dof_arrow.loader.padded.Padded`.
        The options are those of `dof_arrow.loader.raw.options.RawBatchOptions`. Raises UsageError
        for options that are unknown or cannot be.
        """
        from dof_arrow.loader.loader import Loader

        asked = from_keywords(RawBatchOptions, options, "loader")
        if asked.normalize is not None and self.form.dtype == "uint8":
            raise UsageError(
                "whole numbers cannot be normalized",
                "normalize",
                "float32 pictures",
                "uint8",
                'Ask for them: dof.pictures(…, dtype="float32").',
            )
        form = replace(self.form, augmentation=augmentation_of(asked.augment))
        live = replace(self, workers=asked.workers, form=form)
        return Loader(live, asked.without_augment())

    def to_torch_dataset(
        self,
        *,
        target: str | None = None,
        columns: Sequence[str] = (),
        normalize: str | tuple[Array, Array] | None = None,
    ) -> Any:
        """A map-style torch `Dataset`: a dict for each picture or clip (extra `torch`).

        Those that cannot be read are errors, whatever `on_error` says. See
        `dof_arrow.loader.torch_rows.torch_rows`.
        """
        from dof_arrow.loader.torch_rows import torch_rows

        whole = replace(self, skip=False)
        loader = whole.loader(target=target, columns=columns, normalize=normalize, workers=0)
        return torch_rows(loader)

    def gather(self, name: str | None = None) -> LiveDecoder:
        """What decodes them for a loader."""
        self._refuse_others(name)
        return LiveDecoder(
            self.source,
            self.rows,
            self.form,
            workers=self.workers,
            skip=self.skip,
            errors=self.errors,
        )

    def row_shape(self, name: str | None = None) -> tuple[int, ...]:
        """The shape of one picture [h, w, c], or of a clip at its longest [frames, h, w, c]."""
        self._refuse_others(name)
        return self.form.shape

    def batch_dtype(self, name: str | None = None) -> np.dtype[Any]:
        """The type of their pixels in a batch."""
        return np.dtype(self.form.dtype)

    def statistics(self, split: str, name: str | None = None) -> tuple[Array, Array]:
        """Mean and standard deviation, float64 [channels] each, over a split **of the whole
        source**.

        All of its pictures are read.
        """
        form = replace(self.form, dtype="float32")
        whole = replace(self, rows=np.arange(self.table.num_rows), form=form)
        channels = self.form.shape[-1]
        count = 0
        total = np.zeros(channels)
        squares = np.zeros(channels)
        for batch in whole.split(split).loader(workers=self.workers):
            seen = batch if isinstance(batch, np.ndarray) else batch.features[batch.mask]
            pixels = seen.reshape(-1, channels)
            count += len(pixels)
            total += pixels.sum(axis=0, dtype=np.float64)
            squares += np.square(pixels, dtype=np.float64).sum(axis=0)
        mean = total / count
        variance = np.maximum(squares / count - mean**2, 0)
        return mean, np.sqrt(variance)

    def _row(self, index: int) -> dict[str, Any]:
        """One picture as an array, with what is known of it."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        # Asked for by itself, a picture that cannot be read is an error, whatever `on_error` says.
        one = replace(self, rows=self.rows[[index]], workers=0, skip=False)
        (batch,) = one.loader(workers=0)
        shown = batch[0] if isinstance(batch, np.ndarray) else batch.features[0]
        (known,) = one.to_arrow().to_pylist()
        return {**known, self.primary: shown}

    def _refuse_others(self, name: str | None) -> None:
        if name not in (None, self.primary):
            raise UsageError("not a column of pictures", str(self.path), self.primary, name or "")


def _check(asked: RawOptions) -> None:
    if asked.on_error not in ("fail", "skip") or asked.dtype not in ("uint8", "float32"):
        raise UsageError(
            "no such choice",
            "pictures",
            "on_error fail or skip, dtype uint8 or float32",
            f"{asked.on_error}, {asked.dtype}",
        )


def _refuse_columns(named: Mapping[str, Any]) -> None:
    if named:
        raise UsageError(
            "a source of one's own has its columns already",
            "pictures",
            found=", ".join(named),
            hint="Leave them out.",
        )


def _shaped(made: Pictures) -> Pictures:
    """Pictures of a known shape: as it is asked for, or else that of the first that can be read."""
    if made.primary in made.columns:
        raise UsageError(
            "two columns of one name",
            str(made.path),
            found=made.primary,
            hint="Rename the table's column.",
        )
    form = made.form
    shape = _picture_shape(made)
    if form.sampling is not None:
        shape = (form.frames or form.sampling.max_frames or 0, *shape)
    return replace(made, form=replace(form, shape=shape))


def _picture_shape(made: Pictures) -> tuple[int, ...]:
    for index in range(len(made)):
        sample = made.source[index]
        try:
            return made.form.picture_shape(sample)
        except SourceError as error:
            if not made.skip:
                raise SourceError(
                    error.what, sample.key, error.expected, error.found, error.hint
                ) from None
    raise SourceError(
        "no picture can be read",
        str(made.path),
        hint="Look at some of them with an image viewer.",
    )
