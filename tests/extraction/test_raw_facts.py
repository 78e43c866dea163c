"""What the raw inputs were like: common facts once, the others a row (D8, D27)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dof_arrow.extraction.block import Block, ClipRow, Failure, PictureRow
from dof_arrow.extraction.raw_facts import RawFacts
from dof_arrow.extraction.views import ONE
from dof_arrow.format.merge_raw import merged_raw
from dof_arrow.media.facts import PictureFacts


def fact(**given: Any) -> PictureFacts:
    return PictureFacts(
        **{
            "width": 8,
            "height": 6,
            "mode": "RGB",
            "bits": 8,
            "format": "PNG",
            "frames": 1,
            "orientation": 1,
            "bytes": 100,
            **given,
        }
    )


def block(*facts: PictureFacts, failed: Sequence[Failure] = ()) -> Block:
    rows = [PictureRow(number, each) for number, each in enumerate(facts)]
    return Block.of_pictures(rows, {}, failed, ONE)


def clip(number: int, rows: int, facts: PictureFacts, *, broken: bool = False) -> list[Block]:
    """A clip in two pieces, of which the last one tells of damage."""
    parts = []
    for first, last in ((0, 1), (1, rows)):
        frames = [ClipRow(frame, float(frame)) for frame in range(first, last)]
        ends = broken and last == rows
        made = Block.of_clip(number, frames, {}, ONE, facts, first=first == 0, broken=ends)
        parts.append(made)
    return parts


def gathered(*blocks: Block) -> RawFacts:
    facts = RawFacts()
    for each in blocks:
        facts.add(each)
    return facts


def test_what_all_share_stands_once_d8_d27() -> None:
    facts = gathered(block(fact(), fact(bytes=50)), block(fact(), fact(), fact(bytes=3)))
    assert facts.type is None and facts.rows == 5 and facts.bytes == 353
    assert facts.common() == {
        "width": 8,
        "height": 6,
        "mode": "RGB",
        "bits": 8,
        "format": "PNG",
        "frames": 1,
        "orientation": 1,
        "bytes": 350,
    }


def test_what_is_asked_for_stands_in_each_row_d8_d27() -> None:
    first, second = block(fact(), fact(mode="L")), block(fact(width=9, bits=16))
    facts = RawFacts(own=("bits", "width", "mode"))
    for each in (first, second):
        facts.add(each)
    rows = facts.own(first).to_pylist()
    assert rows == [{"width": 8, "mode": "RGB", "bits": 8}, {"width": 8, "mode": "L", "bits": 8}]
    assert facts.own(second).type == facts.type
    assert facts.common() == {}  # of three inputs nothing is told


def test_of_many_numbers_octaves_are_counted() -> None:
    facts = gathered(block(*(fact(height=h) for h in range(1, 41))))
    assert facts.common()["height"] == {"8 to 16": 8, "16 to 32": 16, "32 to 64": 9, "other": 7}


@settings(max_examples=200)
@given(st.lists(st.sampled_from([None, 0, 1, 2, -3.5, 700.25, 1e300, 9, 10, 11, 12, 1e-310])))
def test_no_class_tells_of_fewer_than_five(values: list[float | None]) -> None:
    """And all inputs are in one; put together with another file's, too."""
    raw = gathered(block(*(fact(low=value) for value in values))).common()
    for told, count in ((raw, len(values)), (merged_raw([raw, {}], [len(values), 3]), 0)):
        low = told.get("low")
        if isinstance(low, dict):
            assert min(low.values()) >= 5 and sum(low.values()) == (count or len(values) + 3)
        else:
            assert low is None or len(values) >= 5
    assert ("bytes" in raw) == (len(values) >= 5)


def test_failures_are_gathered_and_empty_blocks_do_no_harm() -> None:
    facts = gathered(
        block(failed=[Failure(3, "empty", "the file holds 0 bytes")]),
        block(fact()),
    )
    assert [f.input for f in facts.failures] == [3] and facts.rows == 1
    assert gathered(block()).common() == {}


def test_clips_are_counted_once_and_broken_ones_by_themselves() -> None:
    pieces = clip(4, 2, fact(frames=2), broken=True)
    pieces += clip(5, 1, fact(frames=3))
    pieces += clip(7, 3, fact(frames=1), broken=True)
    facts = gathered(Block.joined(pieces))
    assert (facts.rows, facts.broken, facts.common()["broken"]) == (3, 2, 2)
