"""Nothing given away by form: five hundred canaries and more in all that an owner has, none in what leaves.

What the owner asks to keep is planted too, and found: so the search finds what is there.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from tests.support.canaries import Canaries, files, layers
from tests.support.canary_commands import live
from tests.support.canary_house import House, lived_in

pytest.importorskip("pydicom")
pytest.importorskip("av")
pytest.importorskip("openpyxl")

LEAST = 500
# What commands make, and of what is kept what stands in it; everything else must not leave.
MADE = {
    "headless": ("the model's own name", "licence of the model"),
    "extract, mapped": ("class of a label", "name of a kept column", "licence of the model"),
    "extract, compact": ("class of a label", "cell of a kept column", "the model's own name"),
    "extract, views": ("class of a label", "cell of a kept column", "the model's own name"),
    "extract, a directory": ("class of a label", "cell of a kept column"),
    "extract, class folders": ("the model's own name",),
    "extract, arrays": ("the model's own name",),
    "extract, columns": ("the model's own name",),
    "extract, DICOM": ("the model's own name",),
    "extract, clips": ("the model's own name",),
    "extract, one picture": ("the model's own name",),
    "killed": (),
    "train": ("class of a label", "the model's own name"),
    "evaluate": ("class of a label", "cell of a kept column"),
    "fuse": ("class of a label", "the model's own name"),
    "card": ("class of a label", "the model's own name"),
    "merge": ("class of a label", "the model's own name"),
    "convert": ("class of a label", "the model's own name"),
    "label": ("class of a label", "the model's own name"),
    "erase": ("class of a label", "the model's own name"),
    "edit": ("title", "contact"),
    "import": (),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with lived_in(tmp_path_factory.mktemp("canaries")) as made:
        live(made)
        yield made


WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "in capitals": bytes.upper,
    "UTF-16": lambda text: text.decode().encode("utf-16-le"),
    "UTF-16, other end": lambda text: b"x" + text.decode().encode("utf-16-be"),
    "UTF-32": lambda text: text.decode().encode("utf-32"),
    "base64": lambda text: base64.b64encode(b"ab" + text + b"behind it"),
    "base64 to its end": lambda text: base64.b64encode(b"a" + text),
    "base64 behind a letter": lambda text: b"x" + base64.b64encode(text),
    "hexadecimal": lambda text: b"f" + text.hex().encode(),
    "escaped": lambda text: rb"\u0063" + text[1:],
    "zlib": lambda text: b"x" + zlib.compress(text * 9),
    "gzip": lambda text: b"x" + gzip.compress(text),
    "zstd": lambda text: b"x" + pa.compress(text * 9, "zstd", asbytes=True),
    "zlib in base64": lambda text: base64.b64encode(zlib.compress(text.decode().encode("utf-16"))),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_canary_is_found_in_every_form(wrapping: str) -> None:
    canaries = Canaries()
    text = canaries.plant("here")
    canaries.plant("not here")
    assert canaries.found(layers(b"before " + WRAPPINGS[wrapping](text.encode()))) == {text}


def test_a_key_a_date_and_a_number_are_found() -> None:
    canaries = Canaries()
    key, day, uid = canaries.key("key"), canaries.date("day"), canaries.uid("uid")
    for form in (key, key.hex().encode(), base64.b64encode(b"1" + key)):
        assert len(canaries.found(layers(form))) == 1
    assert canaries.found(layers(f"{day} {uid}".encode())) == {day, uid}
    assert canaries.found(layers(b"17530101 1.2.7531")) == set()


def test_hundreds_of_canaries_are_planted(house: House) -> None:
    """They are there to be found: in the files of the owner, but for those of the machine itself."""
    canaries = house.canaries
    planted = canaries.found_in(house.inputs)
    elsewhere = {canaries.places[text] for text in canaries.places.keys() - planted}
    assert len(planted) >= LEAST
    assert len({canaries.places[text] for text in planted}) >= LEAST  # places of different kinds
    machine = ("environment: ", "name of the machine", "argument of ", "key of the pseudonyms")
    names = ("name: folder above all", "name: home", "name: working folder")
    asked = ("licence of the model", "title", "contact")
    assert [place for place in elsewhere if not place.startswith(machine + names + asked)] == []


def test_every_output_is_searched(house: House) -> None:
    made = dict(house.made())
    assert {name for name in made if not name.startswith("home/")} == set(MADE)
    assert all(files(path) for path in made.values())
    assert any(".staging" in str(path) for path in files(house.outputs / "killed"))


@pytest.mark.parametrize("command", MADE)
def test_no_canary_leaves(command: str, house: House) -> None:
    canaries = house.canaries
    found = canaries.found_in(dict(house.made())[command])
    assert canaries.told(found - canaries.kept) == []
    kept = {canaries.places[text] for text in found}
    assert kept >= set(MADE[command])


def test_no_canary_lies_in_a_cache(house: House) -> None:
    """But for what a core says of itself: cores are kept there as they were made."""
    canaries = house.canaries
    for name, path in house.made():
        if name.startswith("home/"):
            found = canaries.found_in(path)
            if name.startswith("home/cache/dof-arrow/cores/"):
                found -= canaries.kept
            assert canaries.told(found) == [], name
    assert canaries.found_in(house.home / "state") & canaries.names  # the owner's own list


def test_screens_show_names_alone(house: House) -> None:
    """A command may show its owner what files and their inner names are called, and nothing of their contents."""
    canaries = house.canaries
    for command, said in house.said.items():
        found = canaries.found(layers(said.shown)) - canaries.kept - canaries.names
        assert canaries.told(found) == [], command


def test_no_path_of_the_machine_leaves(house: House) -> None:
    root = str(house.root).encode().lower()
    for _, path in house.made():
        for file in files(path):
            assert root not in file.read_bytes().lower()
