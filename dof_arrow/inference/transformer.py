"""A core as a transformer of scikit-learn: pictures in, features out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dof_arrow.cores.core import BATCH, Core, Features, wanted
from dof_arrow.cores.graph import runtime
from dof_arrow.errors import PictureError, SourceError, UsageError, few, require
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.sources.sample import Sample

Array = NDArray[Any]

_LISTED = 5  # pictures that a message names


class PictureFeatures:
    """The features of pictures, for pipelines of scikit-learn (extra `train`).

    `core` is a `Core`, or what `Core.load` takes: a file, or the name of a core; `preprocess` is
    for a file that carries none. `threads` and `provider` say on what it runs. There is nothing to
    learn: `fit` loads the core as `core_`. A fitted transformer is pickled with its core inside.

        make_pipeline(dof.DofFeatures("efficientnet-lite0"), LogisticRegression())
    """

    def __init__(
        self,
        core: str | os.PathLike[str] | Core,
        *,
        preprocess: str | Preprocessing | None = None,
        threads: int = 1,
        provider: str = runtime.CPU,
    ) -> None:
        self.core = core
        self.preprocess = preprocess
        self.threads = threads
        self.provider = provider

    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the core; pictures and labels are not looked at.

        Raises what `Core.load` raises, and UsageError for a core that sees several frames at once.
        """
        core = self.core
        if not isinstance(core, Core):
            core = Core.load(
                core, preprocess=self.preprocess, threads=self.threads, provider=self.provider
            )
        if core.time_axis is not None:
            raise UsageError(
                "a core of clips takes no pictures",
                core.name,
                "a core that sees one picture at a time",
                hint="Make a dataset of the clips: dof extract",
            )
        self.core_ = core
        return self

    def transform(self, X: Any) -> Features:
        """Features float32 [n, D] of n pictures, tensors flattened.

        A picture is a path, the bytes of a file, or decoded pixels uint8 [h, w] or [h, w, c]; they
        come as a list, a column of a table, or an array [n] or [n, 1] of paths. A few are decoded
        at a time. Raises SourceError that names pictures that cannot be read, UsageError for what
        is no picture.
        """
        require("sklearn.utils.validation", extra="train").check_is_fitted(self)
        core: Core = self.core_
        pictures = _pictures(X)
        features = np.empty((len(pictures), self._width), np.float32)
        step = 1 if core.room(1) is None else BATCH
        read = _Reading(core, pictures)
        for start in range(0, len(pictures), step):
            pixels = read.some(start, min(start + step, len(pictures)))
            if not read.failed:
                features[start : start + step] = core(pixels).reshape(len(pixels), -1)
        read.check()
        return features

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names of the features, object [D]: `feature0`, `feature1`, …"""
        require("sklearn.utils.validation", extra="train").check_is_fitted(self)
        return np.array([f"feature{number}" for number in range(self._width)], object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    @property
    def _width(self) -> int:
        return int(np.prod(self.core_.output_shape))


class _Reading:
    """Pictures being decoded, and the failures so far."""

    def __init__(self, core: Core, pictures: Sequence[Any]) -> None:
        self._mode, self._orientation, self._draft = wanted(core)
        self._pictures = pictures
        self.failed: list[str] = []

    def some(self, start: int, stop: int) -> list[Array]:
        """The pixels of some pictures, without those that cannot be read."""
        pixels = []
        for place in range(start, stop):
            sample = _sample(self._pictures[place], place)
            try:
                found, _ = sample.picture(
                    mode=self._mode, orientation=self._orientation, draft=self._draft
                )
            except PictureError as error:
                self.failed.append(f"{sample.key} ({error})")
            else:
                pixels.append(found)
        return pixels

    def check(self) -> None:
        """Raise SourceError if any picture failed."""
        if self.failed:
            raise SourceError(
                f"{len(self.failed)} of {len(self._pictures)} pictures cannot be read",
                found="; ".join(few(self.failed, _LISTED)),
                hint="Leave them out, with their labels",
            )


def _pictures(given: Any) -> Sequence[Any]:
    """One picture after the other, from a list, a column, or a table of one column."""
    if isinstance(given, (str, bytes, os.PathLike)):
        raise UsageError("one picture is no list", expected="a list of pictures", found=str(given))
    if isinstance(given, (list, tuple)):
        return given
    array = np.asarray(given)
    if array.dtype == np.uint8 and array.ndim > 2:
        return list(array)  # pixels of pictures of one size
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise UsageError(
            "not a list of pictures",
            expected="paths [n] or [n, 1], or pixels uint8 [n, h, w, c]",
            found=f"{array.dtype} {list(array.shape)}",
        )
    return list(array)


def _sample(picture: Any, place: int) -> Sample:
    if isinstance(picture, (str, os.PathLike)):
        return Sample(key=os.fspath(picture), data=Path(picture))
    if isinstance(picture, (bytes, np.ndarray)):
        return Sample(key=f"picture {place}", data=picture)
    raise UsageError(
        "not a picture",
        f"picture {place}",
        "a path, the bytes of a file, or pixels uint8 [h, w, c]",
        type(picture).__name__,
    )


@cache
def _transformer() -> type:
    base = require("sklearn.base", extra="train")
    own = {
        # scikit-learn lets `set_output` work on methods of the class itself.
        "transform": PictureFeatures.transform,
        "__module__": __name__,
        "__doc__": PictureFeatures.__doc__,
    }
    bases = (PictureFeatures, base.TransformerMixin, base.BaseEstimator)
    return type("DofFeatures", bases, own)


def __getattr__(name: str) -> Any:
    # The class is made when it is first asked for: scikit-learn takes a second to load.
    if name == "DofFeatures":
        return _transformer()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
