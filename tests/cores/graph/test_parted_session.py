"""A fused model of pictures by OpenVINO: its preprocessing stays with ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph import openvino_session, runtime
from dof_arrow.errors import CoreError
from dof_arrow.inference.fuse import fuse
from dof_arrow.inference.model_parts import PREPROCESSING
from tests.inference.test_fuse import cores_of_all_kinds, pictures, side_by_side, small_head

pytestmark = pytest.mark.skipif(
    not openvino_session.is_installed(), reason="openvino not installed"
)


KINDS = [
    *[(kind, False) for kind in ("batches", "half", "axes", "fixed", "free")],
    ("batches", True),
    ("half", True),
]


@pytest.mark.parametrize(("kind", "batch"), KINDS)
def test_the_numbers_are_nearly_those_of_onnx_runtime(kind: str, batch: bool) -> None:
    core = cores_of_all_kinds()[kind]
    heads = {"finding": small_head(core), "sex": small_head(core, 2, seed=1)}
    data, seen = fuse(core, heads, batch=batch), pictures(5)
    plain = graph.session(data)
    parted = runtime.session(data, provider="openvino", aside=PREPROCESSING)
    for told in ("get_inputs", "get_outputs"):
        names = [[value.name for value in getattr(each, told)()] for each in (plain, parted)]
        assert names[0] == names[1]
    assert [value.shape[-1] for value in parted.get_outputs()] == [3, 2]
    feeds = [{"pictures": seen}] if batch else [{"picture": each} for each in seen]
    for given in feeds:
        for here, there in zip(graph.run(plain, given), graph.run(parted, given), strict=True):
            np.testing.assert_allclose(there, here, atol=1e-3)


@pytest.mark.parametrize(("kind", "clips"), [("fixed", False), ("batches", True)])
def test_a_model_whose_preprocessing_is_not_apart_is_refused(kind: str, clips: bool) -> None:
    """In a clip, or where a core takes one picture of several, both are within one loop."""
    core = cores_of_all_kinds()[kind]
    head = side_by_side([core], clips=True) if clips else small_head(core)
    data = fuse(core, {"way": head}, batch=not clips)
    with pytest.raises(CoreError, match=r"mine: OpenVINO runs models of pictures.*--provider"):
        runtime.session(data, provider="openvino", aside=PREPROCESSING, where="mine")
