"""The owner's key: found, made on first use, never shown."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from dof_arrow.errors import OutputError, UsageError
from dof_arrow.security.pseudonyms import KEY_BYTES, fingerprint
from dof_arrow.system import open_file, own_folder


def key_file(path: str | Path | None = None) -> Path:
    """The file of the owner's pseudonym key, by default the user's own; it need not exist yet."""
    if path is not None:
        return Path(path)
    return own_folder("XDG_CONFIG_HOME", ".config") / "id.key"


def existing_key(
    given: str | os.PathLike[str] | bytes | None, why: str, made_by: str | None
) -> bytes:
    """The owner's key itself, or that of a file, by default the user's own; none is made.

    `made_by` is the fingerprint of the key that a dataset was made with, where it tells. Raises
    UsageError, which says `why` the key is needed, if there is no such file, or it holds another
    key; what `load_or_make_key` raises.
    """
    if isinstance(given, bytes):
        check_key(given, made_by, "")
        return given
    path = key_file(None if given is None else Path(given))
    if not path.exists():
        raise UsageError("ids are pseudonyms, and their key is not there", str(path), hint=why)
    key = load_or_make_key(path)[0]
    check_key(key, made_by, str(path))
    return key


def check_key(key: bytes, made_by: str | None, where: str) -> None:
    """Raise UsageError for another key than the one with this fingerprint."""
    if made_by is not None and fingerprint(key) != made_by:
        raise UsageError(
            "another key than the one that made the dataset's pseudonyms",
            where,
            f"the key with fingerprint {made_by}",
            fingerprint(key),
            "Name the file of that key: --id-key FILE.",
        )


def load_or_make_key(path: str | Path | None = None) -> tuple[bytes, bool, Path]:
    """The owner's pseudonym key (32 bytes), whether it was made just now, and its file.

    The file holds the key in hexadecimal. By default it is `$XDG_CONFIG_HOME/dof-arrow/id.key`, or
    under `~/.config`. If several processes make it at once, one wins and all get its key. Raises
    OutputError if it cannot be made or read, UsageError if the file holds no key.
    """
    path = key_file(path)
    try:
        made = not path.exists() and _made(path)
        with open_file(path) as file:
            key = bytes.fromhex(file.read().decode("ascii"))
    except ValueError:
        key = b""
    except OSError as error:
        raise OutputError(
            "the pseudonym key can be neither read nor made",
            str(path),
            found=error.strerror or "",
            hint="Name another file with --id-key FILE.",
        ) from None
    if len(key) != KEY_BYTES:
        raise UsageError(
            "the file holds no pseudonym key",
            str(path),
            f"{2 * KEY_BYTES} hexadecimal digits",
            hint="Restore it from a backup, or name another with --id-key FILE.",
        )
    return key, made, path


def _made(path: Path) -> bool:
    """Make a key, unless another process makes one first; returns whether it is ours."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".id-key-")  # mode 0600
    try:
        with open(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces a key that another process made meanwhile.
        os.link(draft, path)
        return True
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
