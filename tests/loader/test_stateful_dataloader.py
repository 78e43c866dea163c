"""States of torch's worker processes, through torchdata's `StatefulDataLoader`."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.errors import UsageError
from tests.support.making_rows import numbers

# torchdata calls what torch has deprecated since.
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")


def _data(ds: Dataset, workers: int) -> Any:
    stateful = pytest.importorskip("torchdata.stateful_dataloader")
    batches = ds.loader(batch_size=16, shuffle=True).to_torch()
    return stateful.StatefulDataLoader(batches, batch_size=None, num_workers=workers)


def _rows(batches: Any) -> list[int]:
    return numbers(batch.numpy() for batch in batches)


@pytest.mark.parametrize(("workers", "stop"), [(0, 5), (0, 13), (1, 4), (2, 1), (2, 7), (2, 13)])
def test_a_state_goes_on_at_the_next_batch(ds: Dataset, workers: int, stop: int) -> None:
    """After the last batch the rest of the pass is empty, as torchdata has it; then comes the next
    epoch."""
    loader = ds.loader(batch_size=16, shuffle=True)
    epochs = [numbers(loader) for _ in range(3)]
    first = _data(ds, workers)
    assert _rows(first) == epochs[0]
    batches = iter(first)
    head = _rows(islice(batches, stop))
    state = first.state_dict()
    del batches
    again = _data(ds, workers)
    again.load_state_dict(state)
    assert head + _rows(again) == epochs[1]
    assert _rows(again) == epochs[2]


def test_a_state_after_a_whole_pass_goes_on_with_the_next_epoch(ds: Dataset) -> None:
    loader = ds.loader(batch_size=16, shuffle=True)
    epochs = [numbers(loader) for _ in range(2)]
    first, again = _data(ds, 2), _data(ds, 2)
    assert _rows(first) == epochs[0]
    again.load_state_dict(first.state_dict())
    assert _rows(again) == epochs[1]


def test_a_dataset_whose_workers_made_batches_does_not_know_its_state(ds: Dataset) -> None:
    torch = pytest.importorskip("torch")
    batches = ds.loader(batch_size=50, shuffle=True).to_torch()
    assert batches.state_dict()["epoch"] == 0
    data = torch.utils.data.DataLoader(batches, batch_size=None, num_workers=1)
    assert len(list(data)) == 4
    with pytest.raises(UsageError, match=r"only the DataLoader knows.*StatefulDataLoader"):
        batches.state_dict()
    assert batches.state_dict(delivered=2)["consumed"] == 100
    assert batches.state_dict(delivered=4)["epoch"] == 1
    # A pass here is the next epoch, and is known again.
    loader = ds.loader(batch_size=50, shuffle=True)
    loader.set_epoch(1)
    assert _rows(batches) == numbers(loader) and batches.state_dict()["epoch"] == 2
    batches.loader.set_epoch(1)  # the loader and its forms are in one place
    loader.set_epoch(1)
    assert _rows(data) == numbers(loader)
