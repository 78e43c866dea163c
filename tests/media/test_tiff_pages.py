"""Which pages of a TIFF are pictures; values compared with Pillow's of each page."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from dof_arrow.errors import PictureError
from dof_arrow.media.image import decode
from dof_arrow.media.tiff_pages import pages, pictures
from dof_arrow.sources.clip import open_clip
from dof_arrow.sources.open import open_source
from dof_arrow.sources.sample import Sample

Page = tuple[tuple[int, int], int]  # width and height, NewSubfileType


def picture(size: tuple[int, int], seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0]), np.uint8))


def tiff(*layout: Page, big: bool = False, compression: str | None = None) -> bytes:
    file = io.BytesIO()
    found = [picture(size, seed) for seed, (size, _) in enumerate(layout)]
    for image, (_, kind) in zip(found, layout, strict=True):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        if kind:
            tags[254] = kind
        image.encoderinfo = {"tiffinfo": tags}  # type: ignore[attr-defined]
    options = {"compression": compression} if compression else {}
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = layout[0][1]
    found[0].save(
        file,
        "TIFF",
        save_all=True,
        append_images=found[1:],
        tiffinfo=tags,
        big_tiff=big,
        **options,
    )
    return file.getvalue()


def own(data: bytes) -> list[int]:
    return pictures(pages(data))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_pages_of_one_size_are_pictures_of_their_own(big: bool, compression: str | None) -> None:
    data = tiff(*[((20, 10), 0)] * 3, big=big, compression=compression)
    assert own(data) == [0, 1, 2]
    with pytest.raises(PictureError, match=r"the TIFF file holds 3 pages.*--clips") as caught:
        decode(data)
    assert caught.value.rule == "several-pages"


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ([((64, 48), 0)], 0),
        ([((64, 48), 0), ((32, 24), 0), ((16, 12), 0)], 0),  # a pyramid that does not say so
        ([((65, 49), 0), ((33, 25), 0), ((16, 12), 0)], 0),  # rounded up, and down
        ([((64, 48), 0), ((64, 48), 4)], 0),  # a mask
        ([((64, 48), 0), ((10, 10), 1)], 0),  # a preview
        ([((10, 10), 1), ((64, 48), 0)], 1),  # a preview in front
        ([((16, 12), 0), ((64, 48), 0)], 1),  # a pyramid from its smallest level on
    ],
)
def test_previews_masks_and_levels_belong_to_the_full_page(
    layout: list[Page], expected: int
) -> None:
    data = tiff(*layout)
    assert own(data) == [expected]
    with Image.open(io.BytesIO(data)) as reference:
        reference.seek(expected)
        assert np.array_equal(decode(data, mode="L")[0][..., 0], np.asarray(reference))


def test_pages_of_other_proportions_are_pictures_too() -> None:
    assert own(tiff(((64, 48), 0), ((48, 30), 0))) == [0, 1]
    assert own(tiff(((64, 48), 0), ((64, 40), 0))) == [0, 1]


def test_a_chain_that_loops_or_breaks_ends() -> None:
    data = bytearray(tiff(((8, 8), 0), ((8, 8), 0)))
    assert len(pages(bytes(data))) == 2
    assert len(pages(bytes(data[: len(data) // 2]))) <= 2
    assert pages(b"II*\0" + b"\xff" * 40) == [] == pages(b"no TIFF at all")


def test_the_pages_of_a_clip_are_its_frames(tmp_path: Path) -> None:
    data = tiff(*[((20, 10), 0)] * 3, ((5, 5), 1))
    (tmp_path / "stack.tif").write_bytes(data)
    clip = open_clip(Sample(key="stack", data=tmp_path / "stack.tif"), mode="L")
    frames = [still.pixels()[..., 0] for still in clip.stills()]
    with Image.open(io.BytesIO(data)) as reference:
        assert len(frames) == clip.facts.frames == 3 == len(list(clip.times()))
        for number, frame in enumerate(frames):
            reference.seek(number)
            assert np.array_equal(frame, np.asarray(reference))
    in_memory = open_clip(Sample(key="stack", data=data), mode="L")
    assert [still.start for still in in_memory.stills()] == [0, 1, 2]


def test_stacks_in_a_folder_are_a_clip_each_and_single_pages_are_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.tif").write_bytes(tiff(((9, 9), 0)))
    one = open_source(tmp_path, clips=True)
    assert [one[i].key for i in range(len(one))] == ["."]
    (tmp_path / "b.tif").write_bytes(tiff(((9, 9), 0), ((9, 9), 0)))
    both = open_source(tmp_path, clips=True)
    assert [both[i].key for i in range(len(both))] == ["a.tif", "b.tif"]
    assert [open_clip(both[i]).facts.frames for i in range(2)] == [1, 2]
