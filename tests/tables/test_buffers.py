"""Memory that goes round: never given again while it is in use."""

from __future__ import annotations

from dof_arrow.tables.buffers import Buffers, Room


def test_buffers_in_use_are_not_given_again() -> None:
    buffers = Buffers(3, 5)
    first = buffers.take()
    part, place = first[1:], first.ctypes.data
    del first
    assert buffers.take().ctypes.data != place
    del part
    assert buffers.take().ctypes.data == place and place % 64 == 0


def test_room_of_any_length() -> None:
    room = Room()
    one, two = room.take(100), room.take(7)
    one[:] = 1
    two[:] = 2
    assert one.sum() == 100 and two.sum() == 14
    place = two.ctypes.data
    del two
    assert room.take(50).ctypes.data == place
    assert room.take(101).shape == (101,)
