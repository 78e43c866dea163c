"""A share of the drawn models (all of them: `make torture`): each head equals its model, or is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from dof_arrow.heads import export_check
from tests.support.drawn_heads import COUNT, dataset, draw, fault, labels, rows

SHARE = 13  # one in so many; with 5 kinds of models in turn, every kind is drawn


@pytest.mark.parametrize("seed", range(0, COUNT, SHARE))
def test_a_drawn_head_equals_its_model_or_is_refused_by_name(seed: int) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("keras")
    pytest.importorskip("skl2onnx")
    assert not fault(draw(seed))


def test_a_head_that_is_wrong_only_far_away_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from dof_arrow.heads import export_torch
    from dof_arrow.heads.export import export_head
    from dof_arrow.heads.layers import Function

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU6(), torch.nn.Linear(4, 3))
    with torch.no_grad():
        model[0].weight /= 50  # no row of the dataset comes near 6
    assert float(model[0](torch.from_numpy(rows())).detach().max()) < 6
    relu = export_torch._always(Function("relu"))
    monkeypatch.setitem(export_torch._LAYERS, "ReLU6", relu)
    with pytest.raises(export_check.CoreError, match=r"torch Sequential, on rows times 30"):
        export_head(model, like=dataset(3))


def test_the_labels_of_drawn_datasets_are_of_all_classes() -> None:
    for classes in (2, 3):
        assert np.bincount(labels(classes)).min() > 5
