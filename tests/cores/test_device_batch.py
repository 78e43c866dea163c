"""Cores on a device: inputs and outputs bound, one batch at a time, as many rows as memory holds.

No GPU is needed: a core that says it runs on one takes the same way through ONNX Runtime's CPU.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dof_arrow.cores import builtin
from dof_arrow.cores.core import BATCH, Core
from dof_arrow.cores.device_batch import MOST, batch_for, rows_at_once
from dof_arrow.cores.graph.session import OutOfMemory
from dof_arrow.errors import CoreError
from dof_arrow.extraction.extract import extract, planned
from dof_arrow.format.merge_metadata import _batches
from tests.support import models
from tests.support.pictures import KEY, core, folder_of, pixels

# As ONNX Runtime's arena says it, and as CUDA does.
ARENA = "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 4096"
SQUASHED = '{"mode": "RGB", "fit": "squash", "resize": [16, 16], "scale": 0.00392156862745098}'
CUDA = "CUDA failure 2: out of memory ; GPU=0"


class Device:
    """A session with room for `most` rows; it counts the batches that are in it at once."""

    def __init__(self, real: Any, most: int, says: str = ARENA) -> None:
        self._real, self._most, self._says = real, most, says
        self.lengths: list[int] = []
        self.inside = self.at_once = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def run(self, *_: object) -> None:
        raise AssertionError("a device is not fed without binding")

    def io_binding(self) -> Any:
        return _Binding(self._real.io_binding(), self)

    def run_with_iobinding(self, binding: _Binding) -> None:
        self.inside += 1
        self.at_once = max(self.at_once, self.inside)
        time.sleep(0.001)
        try:
            if self.lengths[-1] > self._most:
                raise RuntimeError(self._says)
            self._real.run_with_iobinding(binding.real)
        finally:
            self.inside -= 1


class _Binding:
    def __init__(self, real: Any, device: Device) -> None:
        self.real, self._device = real, device

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def bind_cpu_input(self, name: str, value: Any) -> None:
        self._device.lengths.append(len(value))
        self.real.bind_cpu_input(name, value)


def on_device(most: int = MOST, says: str = ARENA) -> tuple[Core, Device]:
    """The builtin core as if it ran on a GPU with room for so many rows."""
    made = builtin.load(pool="1x1")
    device = Device(made.load_session(), most, says)
    made.provider = "cuda"
    made._loaded = device  # type: ignore[assignment]
    return made, device


def test_a_bound_batch_is_the_same_to_the_bit() -> None:
    made, device = on_device()
    shown = [pixels(seed, 9) for seed in range(5)]
    np.testing.assert_array_equal(made(shown), core()(shown))
    assert device.lengths == [5]


@pytest.mark.parametrize(("most", "rows"), [(1000, 256), (256, 256), (255, 128), (48, 32), (1, 1)])
def test_a_batch_is_halved_until_the_device_holds_it(most: int, rows: int) -> None:
    for says in (ARENA, CUDA):
        made, device = on_device(most, says)
        assert batch_for([made, core()]) == rows
        assert device.lengths == [256 >> step for step in range(9) if 256 >> step >= rows]


def test_a_device_that_holds_not_one_row() -> None:
    with pytest.raises(OutOfMemory, match=r"needs more memory than there is.*--batch-size"):
        rows_at_once(on_device(0)[0])


def test_other_faults_of_a_device_are_no_lack_of_memory() -> None:
    with pytest.raises(CoreError, match="an illegal instruction") as told:
        rows_at_once(on_device(0, "an illegal instruction")[0])
    assert not isinstance(told.value, OutOfMemory)


def test_what_cannot_be_tried_or_chosen() -> None:
    """On processors nothing is tried; a core of a fixed batch has its own."""
    assert batch_for([core()]) == BATCH
    fixed = Core.from_bytes(models.mixed_rows().SerializeToString(), preprocess=SQUASHED)
    fixed.provider = "cuda"
    assert batch_for([fixed]) == fixed.fixed_batch == 4


def test_an_extraction_takes_what_fits_and_records_it(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "p", 70)
    made, device = on_device(48)
    found = extract(source, core=made, out=tmp_path / "a.parquet", id_key=KEY, workers=4)
    about = found.metadata.provenance
    assert about is not None
    assert (about.providers, about.batches) == ({"feature": ("cuda",)}, {"feature": (32,)})
    assert device.lengths[4:] and set(device.lengths[4:]) == {32, 6} and device.at_once == 1
    plain = extract(source, core=core(), out=tmp_path / "b.parquet", id_key=KEY, batch_size=32)
    assert found.to_arrow(["id", "feature"]).equals(plain.to_arrow(["id", "feature"]))
    assert plain.metadata.provenance is not None and not plain.metadata.provenance.batches
    assert planned(source, core=on_device(48)[0], out=tmp_path / "a.parquet", id_key=KEY).is_done()
    other = planned(source, core=on_device(20)[0], out=tmp_path / "a.parquet", id_key=KEY)
    assert not other.is_done()


def test_memory_that_is_lacking_later_stops_the_run_and_keeps_what_is_done(tmp_path: Path) -> None:
    """Another batch would be other digits: it is not taken in silence."""
    source = folder_of(tmp_path / "p", 150)
    made, device = on_device(32)

    def fill(done: int, total: int, failed: int) -> None:
        if done >= 32:
            device._most = 1

    options: dict[str, Any] = {"out": tmp_path / "a.parquet", "id_key": KEY, "workers": 1}
    with pytest.raises(OutOfMemory, match="--batch-size"):
        extract(source, core=made, progress=fill, **options)
    seen: list[int] = []
    again = extract(
        source, core=on_device(32)[0], progress=lambda done, *_: seen.append(done), **options
    )
    assert seen[0] >= 32 and len(again) == 150


def test_merged_batches_are_told_together() -> None:
    parts: list[Mapping[str, Any]] = [{"a": [32]}, {}, {"a": [256], "b": [2]}, {"a": [32]}]
    assert _batches(parts) == {"a": [32, 256], "b": [2]}


def test_threads_prepare_while_the_device_runs() -> None:
    made, device = on_device()
    shown = [pixels(seed, 9) for seed in range(4)]
    threads = [threading.Thread(target=lambda: made(shown)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert device.lengths.count(4) == 6 and device.at_once == 1
