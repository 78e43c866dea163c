"""The faults that `mutants` puts into whatever writes: file, what stands there, what stands there instead."""

from __future__ import annotations

from tests.torture.faults_seeded import Fault

FAULTS: tuple[Fault, ...] = (
    # a file: written whole, synced, renamed, its folder synced
    ("commit.py", "            os.fsync(file)\n            refuse_existing", "            refuse_existing"),
    ("commit.py", "            sync_folder(target.parent)\n        except", "        except"),
    ("commit.py", "            os.fsync(file)\n            refuse_existing(target, overwrite)\n"
     "            os.rename(part, target)\n",
     "            refuse_existing(target, overwrite)\n            os.rename(part, target)\n"
     "            os.fsync(file)\n"),
    ("commit.py", "            os.ftruncate(file, 0)\n", ""),
    ("commit.py", "                part.unlink()\n", "                pass\n"),
    ("commit.py", "        refuse_existing(target, overwrite)\n        part =", "        part ="),
    ("commit.py", "            refuse_existing(target, overwrite)\n            os.rename", "            os.rename"),
    ("commit.py", "        left[0] = left[0][written:]", "        left.pop(0)"),
    ("commit.py", "    while left:\n", "    if left:\n"),
    ("commit.py", "            written -= len(left.pop(0))", "            left.pop(0)"),
    ("commit.py", "_AT_ONCE = 512", "_AT_ONCE = 4096"),
    ("commit.py", "        self.size += sum(map(len, views))", "        self.size += len(views)"),
    ("commit.py", "if error.errno != errno.EINVAL:", "if False:"),
    ("commit.py", "        raise OutputError(_reason(error), str(target), hint=_mend(error)) from error",
     "        pass"),
    ("commit.py", "in (errno.ENOSPC, errno.EDQUOT)\n", "in (errno.EDQUOT,)\n"),
    # its lock
    ("commit.py", "            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)", "            pass"),
    ("commit.py", "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB"),
    ("commit.py", "        if _same_file(path, file):", "        if True:"),
    ("commit.py", "            yield output\n",
     "            yield output\n            __import__('fcntl').flock(file, 8)\n"),
    ("commit.py", " | os.O_NOFOLLOW", ""),
    ("commit.py", "not in (errno.EWOULDBLOCK, errno.EACCES)", "not in (errno.EACCES,)"),
    ("commit.py", "            path.unlink(missing_ok=True)\n            os.close(file)",
     "            os.close(file)\n            path.unlink(missing_ok=True)"),
    ("commit.py", "            path.unlink(missing_ok=True)\n            os.close(file)", "            os.close(file)"),
    # the staged blocks of a run
    ("work.py", 'if table.schema.metadata[b"stamp"] == stamp.encode()', 'if table.schema.metadata[b"stamp"]'),
    ("work.py", "if known is not None and known != identity and not fresh:", "if False:"),
    ("work.py", "            self.clear()\n            with", "            with"),
    ("work.py", "            self.clear()\n            with replacing(record, overwrite=True) as out:\n"
     "                out.write(json.dumps(identity, indent=1).encode())\n",
     "            with replacing(record, overwrite=True) as out:\n"
     "                out.write(json.dumps(identity, indent=1).encode())\n            self.clear()\n"),
    ("work.py", "            sync_folder(self.folder.parent)\n", ""),
    ("work.py", "                return lock(self.folder / _LOCK, self.out)",
     "                return os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT)"),
    ("work.py", "            with suppress(FileNotFoundError):  # the folder", "            if True:  # the folder"),
    ("work.py", "            file = lock(self.folder / _LOCK, self.out)\n            self.drop()",
     "            file = os.open(self.folder, os.O_RDONLY)\n            self.drop()"),
    ("work.py", "            self.drop()\n            self._leave(file)", "            self._leave(file)"),
    ("work.py", "                self.clear()\n                (self.folder / _LOCK).unlink()\n",
     "                (self.folder / _LOCK).unlink()\n                self.clear()\n"),
    ("work.py", "        with suppress(OSError):\n            if {path.name",
     "        __import__('fcntl').flock(file, 8)\n        with suppress(OSError):\n            if {path.name"),
    ("work.py", "} <= {_LOCK, _IDENTITY}:", "}:"),
    ("work.py", "            if path.name != _LOCK:\n", "            if True:\n"),
    ("workers.py", "block.in_order()), block.stamp)", "block.in_order()), _stamp(block.samples))"),
    ("workers.py", "table = self._staging.found(number, _stamp([self._job.source[i] for i in self._rows[number]]))",
     "table = self._staging.read(number)"),
    ("extract.py", "        Staging(self.out).sweep()\n", ""),
    ("extract.py", " and not self._changed_since(made)", ""),
    ("extract.py", "about is not None and about.run == self.run_digest", "about is not None"),
    ("writer.py", "        if kind is None:\n", "        if True:\n"),
    # a directory: parts, then the manifest, then its place
    ("growth.py", "    with explained(path), locked(sibling(path, LOCK), path):", "    with explained(path):"),
    ("growth.py", "        sync_folder(self._work)\n", ""),
    ("growth.py", "            sync_folder(self.folder.parent)\n", ""),
    ("growth.py", "        _write_manifest(self._work, self.folder, self.known, self.parts)\n"
     "        if self._work != self.folder:\n            os.rename(self._work, self.folder)\n",
     "        if self._work != self.folder:\n            os.rename(self._work, self.folder)\n"
     "        _write_manifest(self.folder, self.folder, self.known, self.parts)\n"),
    ("growth.py", "if number and path.name not in listed and", "if number and"),
    ("growth.py", "if number and path.name not in listed and", "if not listed and"),
    ("growth.py", "and int(number[1]) < self._number:", "and int(number[1]) > self._number:"),
    ("growth.py", "        self._number = 1 + max(", "        self._number = 0 + max("),
    ("growth.py", "            shutil.rmtree(self._work, ignore_errors=True)\n            self._work.mkdir()",
     "            self._work.mkdir(exist_ok=True)"),
    ("growth.py", 'if new.state != "sealed":', "if False:"),
    ("enlarge.py", "        spare.unlink(missing_ok=True)\n", ""),
    # what a crash left
    ("repair.py", "        if free and left.path.is_dir():", "        if left.path.is_dir():"),
    ("repair.py", "        elif free:\n", "        else:\n"),
    ("repair.py", "        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)", "        pass"),
    ("repair.py", "        if path.name not in listed:", "        if True:"),
    ("repair.py", '        return [path / "lock"]', "        return []"),
    ("repair.py", ', sibling(path, "staging") / "lock"]', "]"),
    # bytes copied, and a file edited
    ("commit.py", "    if output.size != size:", "    if False:"),
    ("commit.py", "    os.lseek(output.file, done, os.SEEK_SET)\n", ""),
    ("commit.py", "    for block in blocks(old, done, size):",
     "    for block in blocks(old, done, size) if not done else ():"),
    ("commit.py", "        start += len(block)", "        start += _BLOCK"),
    ("edit.py", "            _refuse_replaced(plan.source)", "            pass"),
    ("edit.py", 'if source.state != "sealed":', "if False:"),
    ("edit.py", '    if where["sha256"] != about["sha256"]:', "    if False:"),
    ("edit.py", "overwrite=overwrite or out is None)", "overwrite=True)"),
    ("journal.py", "            os.fchmod(file.file, 0o600)\n", ""),
)
