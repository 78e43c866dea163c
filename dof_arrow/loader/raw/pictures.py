"""Pictures and clips as they are, in the place of a dataset of features: the same loader over what has no core yet."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dof_arrow.errors import SourceError, UsageError
from dof_arrow.format.spec.metadata import VERSION, Column, Metadata, Preprocessing, Record, Split
from dof_arrow.format.spec.preprocessing import Fit, check
from dof_arrow.loader.raw.live_decode import Form, Live
from dof_arrow.media import augment
from dof_arrow.media.augment import Augmentation
from dof_arrow.media.decode import ReadingOptions
from dof_arrow.media.frames import EVERY, Sampling
from dof_arrow.sampling import splits
from dof_arrow.sampling.permutation import Rows
from dof_arrow.sources.folder import holds_clips
from dof_arrow.sources.input_table import Roster
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Source
from dof_arrow.tables import join

if TYPE_CHECKING:
    from dof_arrow.loader.loader import Loader

Array = NDArray[Any]
Augment = str | Augmentation | Mapping[str, Any] | Sequence[Mapping[str, Any]]

_NO_FILE = "00000000-0000-0000-0000-000000000000"  # the nil UUID (RFC 9562, section 5.9)
_ROLES = ("id", "group", "split")


def pictures(
    source: str | os.PathLike[str] | Source,
    *,
    size: tuple[int, int] | int | None = None,
    fit: Fit | None = None,
    mode: Literal["RGB", "L"] = "RGB",
    dtype: Literal["uint8", "float32"] = "uint8",
    draft: int | None = None,
    split: str | Mapping[str, float] | None = None,
    seed: int = 0,
    clips: bool | None = None,
    fps: float | None = None,
    max_frames: int | None = None,
    frames: int | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    max_pixels: int | None = None,
    allow: Sequence[str] = (),
    **named: Any,
) -> Pictures:
    """The pictures or clips at a path, or of any `Source`, to be loaded in batches as features are.

    - `table`, `key`, `label`, `group`, `keep`, `kind`, `separator`, `pictures`: as `source.open_source` has them;
    - `split`: a column, or fractions as "train=0.8,valid=0.2" or a mapping, which never part a group, by `seed`;
    - `size` (height, width), or one side, and `fit` ("crop", "pad" or "squash"), resized as extraction does it; without
      a size all are to be as large as the first; `draft`: JPEG read straight at a smaller size, at least this much;
    - `mode` "RGB" or "L"; `dtype`: "uint8", 0 to 255, or "float32", 0 to 1, which a loader can `normalize`;
    - `fps`, `max_frames`: which frames of clips are taken, batches being padded; `frames`: so many, spread evenly;
      `clips` says that inputs are clips where neither their names nor these do;
    - `on_error`: "fail", or "skip", which leaves out what cannot be read and lists it in `errors`;
    - `max_pixels`, `allow`: see `picture.Reading`.

    Raises UsageError for what cannot be, SourceError for what cannot be read.
    """
    sampling = _sampling(source, clips, Sampling(fps=fps, max_frames=max_frames), frames)
    if on_error not in ("fail", "skip") or dtype not in ("uint8", "float32"):
        raise UsageError(
            "no such choice",
            "pictures",
            "on_error fail or skip, dtype uint8 or float32",
            f"{on_error}, {dtype}",
        )
    fractions = splits.parse_fractions(split) if isinstance(split, str) and "=" in split else split
    column = fractions if isinstance(fractions, str) else None
    where = Path(source) if isinstance(source, (str, os.PathLike)) else Path("pictures")
    found = (
        source
        if not isinstance(source, (str, os.PathLike))
        else open_source(where, split=column, clips=sampling is not None, **named)
    )
    if found is source and named:
        raise UsageError(
            "a source of one's own has its columns already",
            "pictures",
            found=", ".join(named),
            hint="Leave them out.",
        )
    form = Form(
        wanted=_wanted(size, fit, mode, draft),
        dtype=dtype,
        sampling=sampling,
        frames=frames,
        reading=ReadingOptions(max_pixels=max_pixels, allow=tuple(allow)),
    )
    return _made(
        where,
        found,
        form,
        None if isinstance(fractions, str) else fractions,
        seed,
        on_error == "skip",
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Pictures or clips with what is known of them; slices, splits, filters and takes are Pictures too.

    Nothing is decoded before a batch asks for it. `table` has a row for each sample of `source`, `rows` are those that
    these are; `errors`, by name, what could not be read so far and was left out.
    """

    path: Path
    source: Source
    form: Form
    table: pa.Table
    rows: Rows
    skip: bool = False
    workers: int | None = None
    errors: dict[str, SourceError] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.form.shape))
        return f"<Pictures {self.path.name}: {len(self):,}, {shape} {self.form.dtype}, {', '.join(self.columns)}>"

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
        """What a file of features would say of itself: columns, targets, splits."""
        roles = {
            name: name if name in _ROLES else "target" if name in self.source.targets else "kept"
            for name in self.columns
        }
        own = {
            name: Column(
                role=roles[name],  # type: ignore[arg-type]
                dtype=str(self.table.schema.field(name).type),
                layout="encoded",
            )
            for name in self.columns
        }
        seen = Column(
            role="feature", dtype=self.form.dtype, shape=self.form.shape, layout="encoded"
        )
        record = Record(**{name: name for name in _ROLES if name in self.columns})
        return Metadata(
            version=VERSION,
            uuid=_NO_FILE,
            primary_column=self.primary,
            columns={**own, self.primary: seen},
            record=record,
            targets=self.source.targets,
            splits=_sizes(self.table["split"]) if "split" in self.columns else {},
        )

    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice | Sequence[int] | Sequence[bool] | Array) -> Pictures: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)):
            return self._row(int(key))
        return replace(self, rows=self.rows[key]) if isinstance(key, slice) else self.take(key)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self._row(i) for i in range(len(self)))

    def take(self, indices: Sequence[int] | Sequence[bool] | Array) -> Pictures:
        """Those at these places, in this order; a mask of booleans takes where it is true."""
        chosen = np.asarray(indices)
        try:
            return replace(self, rows=self.rows[chosen if chosen.size else chosen.astype(np.int64)])
        except IndexError:
            raise UsageError(
                "pictures that are not there",
                str(self.path),
                f"whole numbers 0 to {len(self) - 1}, or {len(self)} booleans",
                f"{chosen.dtype} {list(chosen.shape)}",
            ) from None

    def split(self, name: str) -> Pictures:
        """Those of one split: `train`, `valid`, `test` or the owner's own; UsageError if there is none such."""
        known = self.metadata.splits
        if name not in known:
            raise UsageError(
                "no such split",
                str(self.path),
                ", ".join(known) or "none",
                name,
                'Name a column, or fractions: split="train=0.8,valid=0.2".',
            )
        return self.take(np.asarray(self.to_arrow(["split"]).column(0).to_numpy() == name))

    def filter(self, condition: Any) -> Pictures:
        """Those of which a pyarrow expression over the columns is true, `pc.field("age") > 60`."""
        table = self.to_arrow().append_column("dof_row", pa.array(np.arange(len(self))))
        try:
            return self.take(table.filter(condition).column("dof_row").to_numpy())
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
        """`k` pairs (training, validation), as `Dataset.folds` has them: a group is never on both sides."""
        known = self.metadata.record
        fold = join.folds(self, k, group or known.group or known.id, stratify, seed)
        return [(self.take(fold != i), self.take(fold == i)) for i in range(k)]

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """What is known of them as an Arrow table, without the pictures."""
        return self.table.select(list(columns or self.columns)).take(pa.array(self.rows))

    def loader(
        self,
        *,
        batch_size: int = 32,
        augment: Augment = (),
        workers: int | None = None,
        **options: Any,
    ) -> Loader:
        """Batches for training, `[k, h, w, c]`, see `dof_arrow.loader.options.Options`; of clips `[k, frames, h, w, c]`.

        Clips of which a number of `frames` was not asked for come as `maker.Padded`. `target="picture"` (or "clip")
        gives the inputs themselves. `augment`: what happens to each picture anew in each epoch, an `Augmentation`, its
        JSON form, in one mapping or several, or text for `augment.load`; a clip takes one draw. `workers`: processes
        that decode, by default threads of this one; 0 decodes in the calling thread. Batches are the same with any.
        """
        from dof_arrow.loader.loader import Loader
        from dof_arrow.loader.options import Options

        if options.get("normalize") is not None and self.form.dtype == "uint8":
            raise UsageError(
                "whole numbers cannot be normalized",
                "normalize",
                "float32 pictures",
                "uint8",
                'Ask for them: dof.pictures(…, dtype="float32").',
            )
        asked = Options(batch_size=batch_size, workers=workers, **options)
        live = replace(
            self, workers=workers, form=replace(self.form, augmentation=_augmentation(augment))
        )
        return Loader(live, asked)

    def gather(self, name: str | None = None) -> Live:
        """Where a loader gets them from."""
        self._check(name)
        return Live(
            self.source,
            self.rows,
            self.form,
            workers=self.workers,
            skip=self.skip,
            errors=self.errors,
        )

    def shape(self, name: str | None = None) -> tuple[int, ...]:
        """The shape of one picture [h, w, c], or of a clip at its longest [frames, h, w, c]."""
        self._check(name)
        return self.form.shape

    def dtype(self, name: str | None = None) -> np.dtype[Any]:
        """The type of their pixels in a batch."""
        return np.dtype(self.form.dtype)

    def statistics(self, split: str, name: str | None = None) -> tuple[Array, Array]:
        """Mean and standard deviation, float64 [channels] each, over a split **of the whole source**; all are read."""
        whole = replace(
            self, rows=np.arange(self.table.num_rows), form=replace(self.form, dtype="float32")
        )
        count, total, squares = 0, np.zeros(self.form.shape[-1]), np.zeros(self.form.shape[-1])
        for batch in whole.split(split).loader(workers=self.workers):
            seen = batch if isinstance(batch, np.ndarray) else batch.features[batch.mask]
            flat = seen.reshape(-1, self.form.shape[-1])
            count, total = count + len(flat), total + flat.sum(axis=0, dtype=np.float64)
            squares += np.square(flat, dtype=np.float64).sum(axis=0)
        return total / count, np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0))

    def _row(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        one = replace(self, rows=self.rows[index : index + 1 or None], workers=0, skip=False)
        (seen,) = one.loader(workers=0)
        shown = seen[0] if isinstance(seen, np.ndarray) else seen.features[0]
        return {**one.to_arrow().to_pylist()[0], self.primary: shown}

    def _check(self, name: str | None) -> None:
        if name not in (None, self.primary):
            raise UsageError("not a column of pictures", str(self.path), self.primary, name or "")


def _made(
    where: Path,
    source: Source,
    form: Form,
    fractions: Mapping[str, float] | None,
    seed: int,
    skip: bool,
) -> Pictures:
    if not len(source):
        raise SourceError("no pictures", str(where), hint="Give the folder that holds them.")
    made = Pictures(
        path=where,
        source=source,
        form=form,
        table=_table(source, fractions, seed),
        rows=np.arange(len(source)),
        skip=skip,
    )
    if made.primary in made.columns:
        raise UsageError(
            "two columns of one name",
            str(where),
            found=made.primary,
            hint="Rename the table's column.",
        )
    return replace(made, form=replace(form, shape=_shape(made)))


def _shape(made: Pictures) -> tuple[int, ...]:
    """The shape of all, by what is asked for or else by the first that can be read."""
    form = made.form
    for i in range(len(made)):
        sample = made.source[i]
        try:
            shape = form.first(sample)
            break
        except SourceError as error:
            if not made.skip:
                raise SourceError(
                    error.what, sample.key, error.expected, error.found, error.hint
                ) from None
    else:
        raise SourceError(
            "no picture can be read",
            str(made.path),
            hint="Look at some of them with an image viewer.",
        )
    if form.sampling is None:
        return shape
    return (form.frames or form.sampling.max_frames or 0, *shape)


def _table(source: Source, fractions: Mapping[str, float] | None, seed: int) -> pa.Table:
    """All that is known of the samples, a row each."""
    known = Roster.of(source)
    named = {
        "id": known.keys,
        "group": known.groups,
        "split": _splits(source, known, fractions, seed),
    }
    pairs = [(name, values) for name, values in named.items() if values is not None]
    pairs += [*known.targets.items(), *known.kept.items()]
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            "two columns of one name",
            "pictures",
            found=", ".join(twice),
            hint="Rename the table's column, or leave it out.",
        )
    return pa.table(dict(pairs))


def _sizes(splits: pa.ChunkedArray) -> dict[str, Split]:
    import pyarrow.compute as pc

    counts = (
        (count["values"].as_py(), count["counts"].as_py())
        for count in pc.value_counts(splits.drop_null())
    )
    return {name: Split(rows=rows, records=rows) for name, rows in counts}


def _splits(source: Source, known: Roster, fractions: Mapping[str, float] | None, seed: int) -> Any:
    """The split of each sample: a column's, or by fractions, stratified by the first category that is a target."""
    if fractions is None:
        if known.splits is not None and known.groups is not None:
            splits.check_groups(known.groups.to_pylist(), known.splits.to_pylist())
        return known.splits
    keys = known.keys.to_pylist()
    groups = (
        keys
        if known.groups is None
        else [g or k for g, k in zip(known.groups.to_pylist(), keys, strict=True)]
    )
    named = next(
        (name for name, target in source.targets.items() if target.kind == "category"), None
    )
    strata = None if named is None else known.targets[named].to_pylist()
    return pa.array(
        splits.split_by_fraction(groups, fractions, seed=seed, stratify=strata), pa.string()
    )


def _sampling(
    source: Any,
    clips: bool | None,
    asked: Sampling,
    frames: int | None,
) -> Sampling | None:
    """Which frames are taken, or None where inputs are pictures; UsageError where batches could be of any length."""
    if frames is not None and frames < 1:
        raise UsageError("frames must be at least 1", found=str(frames))
    if clips is None:
        clips = (
            asked != EVERY
            or frames is not None
            or (isinstance(source, (str, os.PathLike)) and holds_clips(Path(source)))
        )
    if clips and frames is None and asked.max_frames is None:
        raise UsageError(
            "batches of clips need a bound",
            "pictures",
            "frames=16, or max_frames=64",
            "neither",
            "frames=16 takes 16 of each clip, spread evenly; max_frames=64 the first 64, padded.",
        )
    return asked if clips else None


def _wanted(
    size: tuple[int, int] | int | None,
    fit: Fit | None,
    mode: Literal["RGB", "L"],
    draft: int | None,
) -> Preprocessing:
    """How pictures are decoded and fitted, as a declaration; UsageError for what contradicts itself."""
    box = () if size is None else (size, size) if isinstance(size, int) else tuple(size)
    if size is None and fit not in (None, "none"):
        raise UsageError(
            "nothing to fit into", "pictures", "size=(height, width)", f"fit={fit!r} alone"
        )
    how: Fit = (fit or "crop") if box else "none"
    wanted = Preprocessing(
        mode=mode,
        channels=mode,
        draft=draft,
        fit=how,
        resize=box,
        layout="NHWC",
        dtype="uint8",
        crop=box if how in ("crop", "pad") else (),
    )
    check(wanted)
    return wanted


def _augmentation(given: Augment) -> Augmentation | None:
    """What may happen to pictures, None for nothing; UsageError says what cannot be."""
    if isinstance(given, Augmentation):
        return given
    if isinstance(given, str):
        return augment.load(given)
    parts = [given] if isinstance(given, Mapping) else list(given)
    pairs = [pair for part in parts for pair in part.items()]
    if len(dict(pairs)) < len(pairs):
        raise UsageError(
            "a change given twice",
            "augment",
            "each name once",
            ", ".join(name for name, _ in pairs),
        )
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in pairs}
    return augment.from_mapping(plain) if plain else None
