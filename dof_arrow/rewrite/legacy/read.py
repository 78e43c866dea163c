"""Which file is one of an older DoF, found by what it holds, and its content."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dof_arrow.errors import FormatError
from dof_arrow.rewrite.legacy import version_1, version_2, version_2_json
from dof_arrow.rewrite.legacy.content import Content
from dof_arrow.storage import bounded_zip
from dof_arrow.storage.restricted_pickle import is_pickle
from dof_arrow.system import open_file

_MOST = 4 << 30  # bytes of a pickle or a JSON text, which take several times as much in memory
_START = 512
_NODE = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*"(instance|description|content)"\s*:')


def may_be(start: bytes) -> bool:
    """Whether a file that begins so may be one of an older DoF: a zip, a pickle or 2.x's JSON.

    >>> may_be(b"PK\\3\\4"), may_be(b'{"instance": {'), may_be(b"PAR1")
    (True, True, False)
    """
    return start.startswith(bounded_zip.ZIPPED) or is_pickle(start) or _is_node(start)


def start_of(path: Path) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        with open_file(path) as file:
            return file.read(_START)
    except OSError:
        return b""


def read(path: Path) -> Content:
    """What a file of DoF 1.0 or 2.x holds.

    Nothing in it is run, followed or unpacked to a disk. Raises FormatError for a file of none of
    these forms, SourceError for one that is damaged or not to be trusted.
    """
    where = str(path)
    if start_of(path).startswith(bounded_zip.ZIPPED):
        with bounded_zip.opened(path) as archive:
            if version_1.is_version_1(archive):
                return version_1.read(archive, where)
            if version_2.is_version_2(archive):
                return version_2.of_zip(archive, where)
            names = ", ".join(map(ascii, archive.names[:3]))
        raise FormatError("a zip that is no dataset of DoF 1.0 or 2.x", where, found=names)
    data = _bytes(path, where)
    if is_pickle(data):
        return version_2.of_pickle(data, where)
    value = version_1.parsed(data, where)
    if not version_2_json.is_version_2(value):
        raise FormatError("JSON that is no dataset of DoF", where)
    return version_2_json.of_json(value, where)


def _bytes(path: Path, where: str) -> bytes:
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > _MOST:
            raise FormatError("too large to be read", where, f"at most {_MOST:,} bytes")
        return file.read()


def _is_node(start: bytes) -> bool:
    """Whether JSON begins as a node of DoF 2.x."""
    return _NODE.match(start) is not None
