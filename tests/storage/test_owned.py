"""What stands beside an output is used only if it is ours; what we make is for us alone."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

import dof_arrow as dof
from dof_arrow.errors import OutputError
from dof_arrow.extraction import staging as work
from dof_arrow.extraction.block import Block
from dof_arrow.extraction.staging import Staging
from dof_arrow.format.append import growing
from dof_arrow.storage import owned
from dof_arrow.storage.atomic import lock, locked, replacing
from tests.support import making, scenarios
from tests.support.faults import Scenario, killed_at, litter, watched
from tests.support.planting import NOBODY, SECRET, Planted, for_files, for_folders, looks, victim

BLOCK = Block(pa.table({"input": [1, 2]}).replace_schema_metadata({"failed": "[]"}))
MASKS = (0o022, 0o002, 0o077)


@pytest.fixture(params=MASKS, ids=oct)
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    known = os.umask(request.param)
    yield request.param
    os.umask(known)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@contextmanager
def refused(folder: Path, planted: Planted, path: Path, kind: str = "file") -> Iterator[None]:
    """What is planted is told, and stays as it is, with all that is beside it."""
    before = looks(folder)
    with pytest.raises(OutputError, match=planted.told) as caught:
        yield
    assert caught.value.where == str(path)
    assert caught.value.expected.startswith(f"nothing, or a {kind} of your own")
    assert looks(folder) == before


# Each name


@for_files
def test_the_beginning_of_a_file(planted: Planted, tmp_path: Path) -> None:
    path = tmp_path / ".x.partial"
    planted(path)
    with refused(tmp_path, planted, path), replacing(tmp_path / "x"):
        pytest.fail("begun all the same")


@for_files
def test_the_beginning_of_a_file_that_is_replaced(planted: Planted, tmp_path: Path) -> None:
    made = making.write(tmp_path / "x", 3)
    planted(tmp_path / ".x.partial")
    with refused(tmp_path, planted, tmp_path / ".x.partial"):
        dof.edit(made, set={"title": "new"})
    with refused(tmp_path, planted, tmp_path / ".x.partial"):
        making.write(made, 4)


@for_files
@pytest.mark.parametrize("name", ["data-000000.parquet", "manifest.parquet"])
def test_the_beginning_of_a_part_or_manifest(name: str, planted: Planted, tmp_path: Path) -> None:
    made, path = making.write(tmp_path / "a.parquet", 3), tmp_path / f".x.dof.{name}.partial"
    planted(path)
    with refused(tmp_path, planted, path):
        dof.append(tmp_path / "x.dof", made)


@for_files
def test_the_lock_of_a_directory(planted: Planted, tmp_path: Path) -> None:
    planted(tmp_path / ".x.dof.lock")
    with refused(tmp_path, planted, tmp_path / ".x.dof.lock"), growing(tmp_path / "x.dof"):
        pytest.fail("begun all the same")


@for_folders
def test_the_beginning_of_a_directory(planted: Planted, tmp_path: Path) -> None:
    planted(tmp_path / ".x.dof.new")
    with refused(tmp_path, planted, tmp_path / ".x.dof.new", "folder"), growing(tmp_path / "x.dof"):
        pytest.fail("begun all the same")


@for_folders
def test_the_folder_of_staged_blocks(planted: Planted, tmp_path: Path) -> None:
    path = tmp_path / ".x.dof.parquet.staging"
    planted(path)
    with refused(tmp_path, planted, path, "folder"):
        scenarios._extract(tmp_path)
    before = looks(tmp_path)
    Staging(tmp_path / "x.dof.parquet").sweep()
    assert looks(tmp_path) == before


@for_files
@pytest.mark.parametrize("name", ["lock", "run.json", "000001.arrow"])
def test_what_is_staged(name: str, planted: Planted, tmp_path: Path) -> None:
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.put(0, BLOCK, "s")
    path = tmp_path / ".x.staging" / name
    path.unlink(missing_ok=True)
    planted(path)
    with refused(tmp_path, planted, path), Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.found(1, "s")


@for_files
def test_a_block_that_is_read_to_be_written(planted: Planted, tmp_path: Path) -> None:
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.put(0, BLOCK, "s")
        staging.path(0).unlink()
        planted(staging.path(0))
        with refused(tmp_path, planted, staging.path(0)):
            list(staging.read([0]))


@for_files
def test_the_beginning_of_a_block(planted: Planted, tmp_path: Path) -> None:
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        path = tmp_path / ".x.staging" / ".000000.arrow.partial"
        planted(path)
        with refused(tmp_path, planted, path):
            staging.put(0, BLOCK, "s")


@for_files
def test_a_part_that_waits_to_be_added(planted: Planted, tmp_path: Path) -> None:
    if planted.name == "second name":
        return  # a kill may leave it under two names
    path = tmp_path / ".x.dof.part.parquet"
    planted(path)
    with refused(tmp_path, planted, path):
        scenarios._extract_into(tmp_path)


def test_a_part_that_another_would_have_added(tmp_path: Path) -> None:
    """Of the same run, with a true seal: it is not ours all the same."""
    with pytest.raises(RuntimeError), watched(_stop_before_linking):
        scenarios._extract_into(tmp_path)
    path = tmp_path / ".x.dof.part.parquet"
    path.chmod(0o666)
    with pytest.raises(OutputError, match=r"others may write to \(mode 0666\)"):
        scenarios._extract_into(tmp_path)
    with pytest.raises(OutputError, match="others may write"), growing(tmp_path / "y.dof") as other:
        other.add(path, take=True)
    path.chmod(0o600)
    scenarios._extract_into(tmp_path)
    assert len(dof.open(tmp_path / "x.dof")) == scenarios.PICTURES - 1


def _stop_before_linking(number: int, name: str) -> None:
    if name == "link":
        raise RuntimeError


# Taken over, never through what was there


def test_what_a_kill_of_ours_left_makes_way(tmp_path: Path, mask: int) -> None:
    """It may be open elsewhere, for reading or writing, from a time when it could be opened."""
    (tmp_path / ".x.partial").write_bytes(b"left")
    (tmp_path / ".x.partial").chmod(0o644)
    with (tmp_path / ".x.partial").open("r+b") as known:
        with replacing(tmp_path / "x") as out:
            known.write(b"evil")
            known.flush()
            out.write(b"new")
            assert mode(out.path) == 0o600
        known.seek(0)
        assert (tmp_path / "x").read_bytes() == b"new" and known.read() == b"evil"
    assert mode(tmp_path / "x") == 0o666 & ~mask


@for_files
def test_what_comes_between_looking_and_making(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made exclusively, or looked at once it is open: there is no time between."""
    real, path = owned.make, tmp_path / ".x.partial"

    def late(made: Path, folder: int | None = None) -> int:
        if not os.path.lexists(path):
            planted(path)
        return real(made, folder)

    monkeypatch.setattr(owned, "make", late)
    with pytest.raises(OutputError, match=planted.told), replacing(tmp_path / "x"):
        pytest.fail("begun all the same")


def test_what_is_exchanged_while_it_is_written_is_noticed(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"exchanged while it was written.*Find out who"),
        replacing(tmp_path / "x") as out,
    ):
        out.write(b"mine")
        out.path.rename(tmp_path / "taken")
        out.path.write_bytes(b"theirs")
    assert not (tmp_path / "x").exists() and (tmp_path / ".x.partial").read_bytes() == b"theirs"


def test_a_part_that_is_exchanged_while_it_is_added_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = making.write(tmp_path / "a.parquet", 3), making.write(tmp_path / "b.parquet", 4)
    real = os.link
    monkeypatch.setattr(os, "link", lambda old, new: (os.replace(theirs, mine), real(old, new)))
    with pytest.raises(OutputError, match="exchanged while"), growing(tmp_path / "x.dof") as growth:
        growth.add(mine, take=True)
    assert not (tmp_path / "x.dof").exists() and not (tmp_path / ".x.dof.new").exists()


def test_a_staging_folder_that_is_exchanged_while_it_is_held(tmp_path: Path) -> None:
    """Nothing is read, written or removed where the other one points to."""
    other = victim(tmp_path / "x").parent
    (other / "000000.arrow").write_bytes(SECRET)
    before = looks(other)
    with Staging(tmp_path / "x").held({"run": 1}) as staging:
        staging.put(0, BLOCK, "s")
        staging.folder.rename(tmp_path / "moved")
        staging.folder.symlink_to(other)
        staging.put(1, BLOCK, "s")
        assert staging.numbers() == [0, 1] and staging.found(0, "s") == 0
        assert sum(map(len, staging.read([0, 1]))) == 4
        staging.drop()
    assert looks(other) == before and list((tmp_path / "moved").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_takes_nothing_over_from_others(tmp_path: Path) -> None:
    for name in (".x.partial", ".y.partial"):
        (tmp_path / name).write_bytes(b"left")
        os.chown(tmp_path / name, NOBODY, NOBODY)
    with pytest.raises(OutputError, match=f"user {NOBODY}"):
        lock(tmp_path / ".x.partial", tmp_path / "x")
    path = tmp_path / ".y.partial"
    with pytest.raises(OutputError, match=f"user {NOBODY}"), locked(path, tmp_path / "y"):
        pytest.fail("begun all the same")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_what_cannot_even_be_opened_is_told(tmp_path: Path) -> None:
    """Another user's lock, of the kind that we make, in a folder that all may write to."""
    (tmp_path / ".x.partial").touch(0o600)
    (tmp_path / ".y.staging").mkdir(0o700)
    tmp_path.chmod(0o1777)
    child = os.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.setgroups([])
        os.setgid(4321)
        os.setuid(4321)
        os._exit(0 if _told(Path("x")) and _told(Path("y")) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _told(path: Path) -> bool:
    try:
        with replacing(path), Staging(path).held({"run": 1}):
            return False
    except OutputError as error:
        return "of root (user 0)" in str(error) and "Ask its owner" in str(error)


def test_a_filesystem_without_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a new file of ours bears another owner too, what a kill left is known by that one."""
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    (tmp_path / ".x.partial").write_bytes(b"left")
    with replacing(tmp_path / "x") as out:
        out.write(b"new")
    with Staging(tmp_path / "y").held({"run": 1}) as staging:
        staging.put(0, BLOCK, "s")
    with Staging(tmp_path / "y").held({"run": 1}) as staging:
        assert staging.found(0, "s") == 0
        staging.drop()
    (tmp_path / ".x.partial").write_bytes(b"left")
    (tmp_path / ".x.partial").chmod(0o664)
    again = replacing(tmp_path / "x", overwrite=True)
    with pytest.raises(OutputError, match="may write to"), again:
        pytest.fail("begun all the same")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".x.partial", "x"]


def test_messages_name_users_that_the_system_does_not_know(tmp_path: Path) -> None:
    found = list(tmp_path.lstat())
    found[stat.ST_UID] = 3_999_999
    with pytest.raises(OutputError, match="a folder of user 3999999"):
        owned.refuse_others(tmp_path, os.stat_result(found))


# Modes


def test_a_file_is_private_until_it_is_there(tmp_path: Path, mask: int) -> None:
    for _ in range(2):
        with replacing(tmp_path / "x", overwrite=True) as out:
            assert mode(out.path) == 0o600
        assert mode(tmp_path / "x") == 0o666 & ~mask
        (tmp_path / "x").chmod(0o640)  # what is replaced has no say, unless it is edited


@pytest.mark.parametrize("wanted", [0o600, 0o400, 0o444, 0o664, 0o666])
def test_a_mode_that_is_asked_for(tmp_path: Path, mask: int, wanted: int) -> None:
    with replacing(tmp_path / "x", mode=wanted) as out:
        assert mode(out.path) == 0o600
    assert mode(tmp_path / "x") == wanted


def test_without_files_of_no_name(
    tmp_path: Path, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    assert owned.usual_mode(tmp_path) == 0o666 & ~mask == owned.usual_mode(tmp_path / "none")
    assert os.umask(mask) == mask


def test_an_access_list_of_the_folder_has_its_say(tmp_path: Path) -> None:
    """What a laboratory's shared folder gives new files, it gives outputs, private at first."""
    entries = ((1, 6, -1), (4, 4, -1), (8, 6, 4321), (16, 6, -1), (32, 0, -1))
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", value)
    except OSError:
        pytest.skip("no access lists here")
    (tmp_path / "plain").write_bytes(b"")
    with replacing(tmp_path / "x") as out:
        assert mode(out.path) == 0o600
    name = "system.posix_acl_access"
    assert mode(tmp_path / "x") == mode(tmp_path / "plain") == 0o660
    assert os.getxattr(tmp_path / "x", name) == os.getxattr(tmp_path / "plain", name)


def test_an_extraction(tmp_path: Path, mask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[str, int]] = set()
    real = work.Staging.read

    def read(staging: Staging, blocks: object) -> Iterator[Block]:
        seen.update((path.name, mode(path)) for path in [staging.folder, *staging.folder.iterdir()])
        return real(staging, blocks)

    monkeypatch.setattr(work.Staging, "read", read)
    scenarios._extract(tmp_path)
    blocks = {(f"{number:06d}.arrow", 0o600) for number in range(4)}
    others = {(".x.dof.parquet.staging", 0o700), ("lock", 0o600), ("run.json", 0o600)}
    assert seen == others | blocks
    assert mode(tmp_path / "x.dof.parquet") == 0o666 & ~mask


def test_a_directory(tmp_path: Path, mask: int) -> None:
    """Whether it is new or grows, by copies or by parts that were made for it."""
    making.write(tmp_path / "new.parquet", 600, making.vectors(600, 64))
    scenarios._extract_into(tmp_path)
    dof.convert(tmp_path / "new.parquet", tmp_path / "y.dof", rows_per_part=256)
    dof.append(tmp_path / "y.dof", making.write(tmp_path / "a.parquet", 0, making.vectors(0, 64)))
    for folder, parts in ((tmp_path / "x.dof", 1), (tmp_path / "y.dof", 4)):
        assert mode(folder) == 0o777 & ~mask
        assert [mode(path) for path in folder.iterdir()] == [0o666 & ~mask] * (parts + 1)


def test_a_new_directory_keeps_the_bit_of_its_group(tmp_path: Path) -> None:
    tmp_path.chmod(0o2755)
    dof.append(tmp_path / "x.dof", making.write(tmp_path / "a.parquet", 3))
    assert mode(tmp_path / "x.dof") == 0o2755


@pytest.mark.parametrize("wanted", [0o640, 0o400, 0o664])
def test_an_edited_file_keeps_its_mode(tmp_path: Path, mask: int, wanted: int) -> None:
    path = making.write(tmp_path / "x", 3)
    path.chmod(wanted)
    dof.edit(path, set={"title": "new"})
    assert mode(path) == wanted


# Killed where the group may write


def _write(folder: Path) -> None:
    with replacing(folder / "x", overwrite=True) as out:
        out.write(b"new")


CHANGING = ("edit", "append to a directory", "convert into a directory")
SHARED = (
    Scenario("write", scenarios._nothing, _write, ("x",)),
    *(s for s in scenarios.SCENARIOS if s.name in CHANGING),
)


@pytest.mark.parametrize("scenario", SHARED, ids=lambda s: s.name)
def test_killed_anywhere_it_goes_on(scenario: Scenario, tmp_path: Path) -> None:
    """Nothing that a kill leaves is open to others, or else it would not be taken up again."""
    known = os.umask(0o002)
    try:
        _, after, count = scenario.before_and_after(tmp_path / "whole")
        for operation in range(count):
            folder = tmp_path / str(operation)
            scenario.prepare(folder)
            assert killed_at(scenario, folder, operation)
            scenario.act(folder)
            assert scenario.contents(folder) == after and not litter(folder, scenario)
    finally:
        os.umask(known)


def test_an_extraction_into_a_directory_killed_at_its_end_goes_on(tmp_path: Path) -> None:
    (scenario,) = [s for s in scenarios.SCENARIOS if s.name == "extract into a directory"]
    known = os.umask(0o002)
    try:
        _, after, count = scenario.before_and_after(tmp_path / "whole")
        for back in range(1, 24):
            folder = tmp_path / str(back)
            scenario.prepare(folder)
            killed_at(scenario, folder, count - back)
            scenario.act(folder)
            assert scenario.contents(folder) == after and not litter(folder, scenario)
    finally:
        os.umask(known)
