"""Every kind of model met in the wild, from its file to the features: equal to a reference, at any batch size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from dof_arrow.cores.core import Core
from dof_arrow.cores.graph import model as graph
from dof_arrow.dataset.dataset import Dataset
from dof_arrow.extraction.extract import extract
from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.validation.validate import validate
from tests.cores.test_cut import Array, assert_near, exposed
from tests.support import models
from tests.support.pictures import KEY, folder_of, pixels

PICTURES = 21
SQUASHED = Preprocessing(mode="RGB", fit="squash", resize=(16, 16))
WILD: dict[str, Callable[[], onnx.ModelProto]] = {
    "batch fixed at 16": models.sixteen,
    "batch axis squeezed": models.squeezed,
    "batch axis squeezed of one alone": models.squeezed_when_alone,
    "ViT, class token": models.vit,
    "ViT, mean of tokens": lambda: models.vit("mean"),
    "ViT, batch fixed at 16": lambda: models.vit(batch=16),
    "DenseNet": models.densenet,
    "headless already": models.headless,
    "an embedding": models.embedding,
    "quantised": lambda: models.quantised("QDQ"),
    "DynamicQuantizeLinear": models.dynamic_range,
}


@pytest.mark.parametrize("kind", WILD)
def test_row_C2_a_model_of_this_kind_gives_its_reference_at_any_batch_size(
    kind: str, tmp_path: Path
) -> None:
    """Row C2: the reference is the original model, its tensor made an output, run as it declares, or one by one."""
    model, folder = WILD[kind](), folder_of(tmp_path / "p", PICTURES, side=20)
    core = Core.from_bytes(graph.to_bytes(model), preprocess=SQUASHED)
    made = [extracted(folder, core, batch) for batch in (1, 5, 8)]
    found = [ds.to_numpy() for ds in made]
    prepared = np.stack([core.prepare(pixels(seed, 20)) for seed in range(PICTURES)])
    assert_near(found[0], reference(model, prepared, alone=core.batch_dependent))
    assert core.batch_dependent == (kind == "DynamicQuantizeLinear")
    assert made[0].metadata.cores["feature"].deterministic == (not core.batch_dependent)
    for other in found[1:]:
        assert (
            np.array_equal(other, found[0])
            if core.batch_dependent
            else np.allclose(other, found[0], atol=1e-6)
        )
    assert validate(made[0].path, deep=True) == []


def extracted(folder: Path, core: Core, batch: int) -> Dataset:
    return extract(
        folder,
        core=core,
        out=folder.with_name(f"{batch}.parquet"),
        batch_size=batch,
        id_key=KEY,
        order="source",
        workers=2,
    )


def reference(model: onnx.ModelProto, prepared: Array, *, alone: bool) -> Array:
    if not alone:
        return exposed(model, "feat", prepared)
    return np.concatenate(
        [exposed(model, "feat", prepared[i : i + 1]) for i in range(len(prepared))]
    )
