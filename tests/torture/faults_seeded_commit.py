"""The faults that `mutants` puts into whatever writes: file, what stands there, what stands there instead."""

from __future__ import annotations

from tests.torture.faults_seeded import Fault

FAULTS: tuple[Fault, ...] = (
    # a file: written whole, synced, renamed, its folder synced
    ("storage/atomic.py", "            os.fsync(file)\n", ""),
    ("storage/atomic.py", "sync_folder(target.parent)", "pass"),
    (
        "storage/atomic.py",
        "            os.fsync(file)\n            refuse_existing(target, overwrite)\n            _put_in_place(part, file, target, folder)\n",
        "            refuse_existing(target, overwrite)\n            _put_in_place(part, file, target, folder)\n            os.fsync(file)\n",
    ),
    ("storage/atomic.py", "_remove_own(part, file, folder)", "pass"),
    (
        "storage/atomic.py",
        "    with explained(target):\n        refuse_existing(target, overwrite)\n",
        "    with explained(target):\n",
    ),
    ("storage/atomic.py", "            refuse_existing(target, overwrite)\n", ""),
    ("storage/atomic.py", "if not owned.stands(part, file, folder):", "if False:"),
    ("storage/atomic.py", "            owned.give_mode(file, owned.closed(final))\n", ""),
    (
        "storage/atomic.py",
        "owned.give_mode(file, owned.closed(final))",
        "owned.give_mode(file, final)",
    ),
    ("storage/atomic.py", "owned.give_mode(file, final)", "pass"),
    ("storage/atomic.py", "left[0] = left[0][written:]", "left.pop(0)"),
    ("storage/atomic.py", "while left:", "if left:"),
    ("storage/atomic.py", "written -= len(left.pop(0))", "left.pop(0)"),
    ("storage/atomic.py", "_AT_ONCE = 512", "_AT_ONCE = 4096"),
    ("storage/atomic.py", "self.size += sum(map(len, views))", "self.size += len(views)"),
    ("storage/atomic.py", "if error.errno != errno.EINVAL:", "if False:"),
    (
        "storage/atomic.py",
        "raise OutputError(_reason(error), str(target), hint=_hint(error)) from error",
        "pass",
    ),
    (
        "storage/atomic.py",
        "full = error.errno in (errno.ENOSPC, errno.EDQUOT)",
        "full = error.errno in (errno.EDQUOT,)",
    ),
    # its lock
    ("storage/atomic.py", "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass"),
    (
        "storage/atomic.py",
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)",
    ),
    ("storage/atomic.py", "return owned.stands(path, file, folder)", "return True"),
    (
        "storage/atomic.py",
        "            owned.refuse_others(path, found, folder=folder)\n        _flock(file, target)\n",
        "            owned.refuse_others(path, found, folder=folder)\n",
    ),
    ("storage/atomic.py", "owned.refuse_others(path, found, folder=folder)", "pass"),
    (
        "storage/atomic.py",
        "            yield Output(part, file)\n",
        "            yield Output(part, file)\n            __import__('fcntl').flock(file, 8)\n",
    ),
    (
        "storage/atomic.py",
        "if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):",
        "if error.errno not in (errno.EACCES,):",
    ),
    (
        "storage/atomic.py",
        "            path.unlink(missing_ok=True)\n            os.close(file)\n",
        "            os.close(file)\n            path.unlink(missing_ok=True)\n",
    ),
    ("storage/atomic.py", "            path.unlink(missing_ok=True)\n", ""),
    # what stands there before us
    (
        "storage/owned.py",
        "_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK",
        "_SAFE = os.O_CLOEXEC | os.O_NONBLOCK",
    ),
    (
        "storage/owned.py",
        "_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK",
        "_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW",
    ),
    (
        "storage/owned.py",
        "flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW",
        "flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW",
    ),
    ("storage/owned.py", "FILE = 384", "FILE = 438"),
    ("storage/owned.py", "FOLDER = 448", "FOLDER = 511"),
    (
        "storage/owned.py",
        "plain = stat.S_IFMT(found.st_mode) == kind and _names(found) <= names",
        "plain = _names(found) <= names",
    ),
    (
        "storage/owned.py",
        "return found.st_uid == owner and (not found.st_mode & _OTHERS_WRITE & ~allowed)",
        "return not found.st_mode & _OTHERS_WRITE & ~allowed",
    ),
    (
        "storage/owned.py",
        "_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH",
        "_OTHERS_WRITE = stat.S_IWOTH",
    ),
    (
        "storage/owned.py",
        "_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH",
        "_OTHERS_WRITE = stat.S_IWGRP",
    ),
    (
        "storage/owned.py",
        "plain = stat.S_IFMT(found.st_mode) == kind and _names(found) <= names",
        "plain = stat.S_IFMT(found.st_mode) == kind",
    ),
    ("storage/owned.py", "return _is_closed(found, like.st_uid, like.st_mode)", "return True"),
    ("storage/owned.py", "        os.close(open_folder(path))\n", ""),
    (
        "storage/owned.py",
        "return (mode | stat.S_IRUSR | stat.S_IWUSR) & ~_OTHERS_WRITE",
        "return mode & ~_OTHERS_WRITE",
    ),
    ("format/append.py", "owned.refuse_others(file, os.fstat(new.file), names=2)", "pass"),
    ("format/append.py", "owned.give_mode(part.file, usual)", "pass"),
    ("format/append.py", "        owned.give_mode(file, usual)\n", ""),
    ("extraction/append.py", "        drop_damaged(self.file)\n", ""),
    ("extraction/append.py", "        file.check()\n", ""),
    ("extraction/append.py", "return waiting_mode(self.file)", "return None"),
    ("heads/checkpoint.py", "known = owned.read(path)", "known = path.read_bytes()"),
    ("heads/checkpoint.py", "if hashlib.sha256(data).digest() == digest:", "if True:"),
    # the staged blocks of a run
    (
        "extraction/staging.py",
        "return found.failed if found.stamp == stamp else None",
        "return found.failed",
    ),
    (
        "extraction/staging.py",
        "if known is not None and known != identity and (not fresh):",
        "if False:",
    ),
    (
        "extraction/staging.py",
        "        if known != identity:\n            self.clear()\n",
        "        if known != identity:\n",
    ),
    (
        "extraction/staging.py",
        "return identity if record['sha256'] == _digest(identity) else None",
        "return identity if True else None",
    ),
    (
        "extraction/staging.py",
        "        except Damaged:\n            self._drop_damaged(block)\n",
        "        except Damaged:\n",
    ),
    (
        "extraction/staging.py",
        "                raise\n            self._drop_damaged(block)\n",
        "                raise\n",
    ),
    ("extraction/staging.py", "if error.errno not in _LOST:", "if True:"),
    ("extraction/staging.py", "if error.errno not in _LOST:", "if False:"),
    (
        "extraction/staging.py",
        "return self._run + block.to_bytes(8, 'little')",
        "return block.to_bytes(8, 'little')",
    ),
    (
        "extraction/staging.py",
        "return self._run + block.to_bytes(8, 'little')",
        "return self._run",
    ),
    ("extraction/block_file.py", "if tail[_LENGTH:] != _digest(whose, trailer):", "if False:"),
    ("extraction/block_file.py", "if hashlib.sha256(data).hexdigest() != digest:", "if False:"),
    ("extraction/block_file.py", "if length > end:", "if False:"),
    ("extraction/run.py", "                staging.drop_damaged()\n", ""),
    ("extraction/staging.py", "            sync_folder(self.folder.parent)\n", ""),
    (
        "extraction/staging.py",
        "return lock(self.folder / _LOCK, self.out, folder=self._file)",
        "return os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT)",
    ),
    ("extraction/staging.py", "except FileNotFoundError:", "except OverflowError:"),
    (
        "extraction/staging.py",
        "file = lock(self.folder / _LOCK, self.out, folder=self._file)",
        "file = os.open(self.folder, os.O_RDONLY)",
    ),
    ("extraction/staging.py", "            self.drop()\n", ""),
    (
        "extraction/staging.py",
        "                self.clear()\n                owned.remove(self.folder / _LOCK, self._file)\n",
        "                owned.remove(self.folder / _LOCK, self._file)\n                self.clear()\n",
    ),
    (
        "extraction/staging.py",
        '        """Let go of the folder; drop it where no blocks are left, its lock last and still held."""\n',
        '        """Let go of the folder; drop it where no blocks are left, its lock last and still held."""\n        __import__(\'fcntl\').flock(file, 8)\n',
    ),
    ("extraction/staging.py", "if set(self._names()) <= {_LOCK, _IDENTITY}:", "if self._names():"),
    ("extraction/staging.py", "if name != _LOCK:", "if True:"),
    (
        "extraction/engine.py",
        "self.staging.put(block.number, made, block.stamp)",
        "self.staging.put(block.number, made, stamp_of(block.samples))",
    ),
    (
        "extraction/engine.py",
        "return self.staging.found(number, stamp_of(self._samples(number)))",
        "return 0",
    ),
    ("extraction/run.py", "        Staging(self.destination.file).sweep()\n", ""),
    (
        "extraction/run.py",
        "return made is not None and (not self._changed_since(made))",
        "return made is not None",
    ),
    (
        "extraction/destination.py",
        "return found if about is not None and about.run == run_digest else None",
        "return found if about is not None else None",
    ),
    ("format/writer.py", "if kind is None:", "if True:"),
    # a directory: parts, then the manifest, then its place
    (
        "format/append.py",
        "with explained(path), locked(sibling(path, LOCK), path):",
        "with explained(path):",
    ),
    ("format/append.py", "        sync_folder(self._work)\n", ""),
    ("format/append.py", "        sync_folder(folder.parent)\n", ""),
    (
        "format/append.py",
        "        manifest.write(self._work, self.folder)\n        if self._work != self.folder:\n            _open_up(self._work, self.folder)\n",
        "        if self._work != self.folder:\n            _open_up(self._work, self.folder)\n        manifest.write(self.folder, self.folder)\n",
    ),
    (
        "format/append.py",
        "if number and name not in listed and (int(number[1]) < self._number):",
        "if number and int(number[1]) < self._number:",
    ),
    (
        "format/append.py",
        "if number and name not in listed and (int(number[1]) < self._number):",
        "if not listed and int(number[1]) < self._number:",
    ),
    (
        "format/append.py",
        "if number and name not in listed and (int(number[1]) < self._number):",
        "if number and name not in listed and (int(number[1]) > self._number):",
    ),
    ("format/append.py", "return 1 + max(numbers)", "return 0 + max(numbers)"),
    ("format/append.py", "owned.make_folder_anew(self._work)", "self._work.mkdir(exist_ok=True)"),
    ("format/append.py", "if new.state != 'sealed':", "if False:"),
    ("extraction/append.py", "        self.file.unlink(missing_ok=True)\n", ""),
    # what a crash left
    (
        "rewrite/repair.py",
        "if free and left.path.is_dir() and (not left.path.is_symlink()):",
        "if left.path.is_dir() and (not left.path.is_symlink()):",
    ),
    (
        "rewrite/repair.py",
        "if free and left.path.is_dir() and (not left.path.is_symlink()):",
        "if free and left.path.is_dir():",
    ),
    ("rewrite/repair.py", "elif free:", "else:"),
    ("rewrite/repair.py", "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass"),
    ("rewrite/repair.py", "if path.name not in listed:", "if True:"),
    ("rewrite/repair.py", "return [path / 'lock']", "return []"),
    (
        "rewrite/repair.py",
        "return [path.with_name(f'{name}.{append.LOCK}'), sibling(path, 'staging') / 'lock']",
        "return [path.with_name(f'{name}.{append.LOCK}')]",
    ),
    # bytes copied, and a file edited
    ("storage/copy.py", "if output.size != size:", "if False:"),
    ("storage/copy.py", "    os.lseek(output.file, done, os.SEEK_SET)\n", ""),
    (
        "storage/copy.py",
        "for block in blocks(old, done, size):",
        "for block in blocks(old, done, size) if not done else ():",
    ),
    ("storage/copy.py", "        start += len(block)", "        start += _BLOCK"),
    ("rewrite/edit.py", "_refuse_replaced(plan.source)", "pass"),
    ("rewrite/edit_check.py", "if source.state != 'sealed':", "if False:"),
    ("rewrite/reassemble.py", "if where['sha256'] != about['sha256']:", "if False:"),
    (
        "rewrite/edit.py",
        "with replacing(target, overwrite=overwrite or out is None, mode=mode) as output:",
        "with replacing(target, overwrite=True, mode=mode) as output:",
    ),
    (
        "extraction/failures.py",
        "with replacing(path, overwrite=True, mode=owned.FILE) as file:",
        "with replacing(path, overwrite=True) as file:",
    ),
)
