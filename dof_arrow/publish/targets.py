"""Where datasets are published: a repository on the hub, or a folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dof_arrow.errors import UsageError
from dof_arrow.publish.staged import PathLike
from dof_arrow.storage.addresses import Address, location

_REPOSITORY = re.compile(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+)", re.A)


def place_of(where: PathLike | Address, filesystem: Any = None) -> Address:
    """A place as an address; a folder of this machine is one in its filesystem.

    >>> place_of("s3://bucket/lungs/")
    Address(s3://bucket/lungs)
    """
    place = location(where, filesystem)
    if isinstance(place, Path):
        from pyarrow.fs import LocalFileSystem

        return Address(str(place.absolute()), LocalFileSystem())
    return Address(place.url.rstrip("/"), place.filesystem)


def hub_name(place: Address) -> str | None:
    """OWNER/NAME of a repository on the hub; None for what is elsewhere.

    Raises UsageError for an address of the hub that names no repository.

    >>> hub_name(place_of("hf://datasets/lab/lungs")), hub_name(place_of("hf://lab/lungs"))
    ('lab/lungs', 'lab/lungs')
    """
    if place.filesystem is not None or not place.url.startswith("hf://"):
        return None
    match = _REPOSITORY.fullmatch(place.url)
    if match is None:
        raise UsageError("this names no repository", str(place), "hf://OWNER/NAME")
    return match[1]
