"""What is installed here, and what to install for each ability (`dof doctor`)."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from importlib import metadata
from typing import Any

_BASE = ("pyarrow", "numpy", "onnxruntime", "onnx", "pillow", "click", "rich")
_OURS = ("dev", "bench")  # extras for those who work on this package
_EXTRA = re.compile(r"""^(?P<name>[A-Za-z0-9._-]+).*;.*extra == ["'](?P<extra>[^"']+)["']""")


def examine() -> dict[str, Any]:
    """Versions, ONNX Runtime providers, threads, where the pseudonym key lies, and what each extra still lacks.

    Extras are those that the installed package declares; none where it runs from its source folder.
    """
    import onnxruntime

    from dof_arrow._version import __version__
    from dof_arrow.security.keys import key_file
    from dof_arrow.system import processors

    versions = {"dof-arrow": __version__, "python": platform.python_version()}
    return {
        "versions": {**versions, **{name: _version(name) or "missing" for name in _BASE}},
        "providers": onnxruntime.get_available_providers(),
        "threads": processors(),
        "id_key": {"path": str(key_file()), "exists": key_file().exists()},
        "extras": {
            e: [name for name in names if not _version(name)]
            for e, names in extras(_required()).items()
        },
    }


def extras(requirements: Iterable[str]) -> dict[str, list[str]]:
    """The libraries of each extra that a user may want, from a package's declared requirements.

    >>> extras(["numpy>=2", "av>=15; extra == 'video'", "ruff; extra == 'dev'"])
    {'video': ['av']}
    """
    found: dict[str, list[str]] = {}
    for match in filter(None, map(_EXTRA.match, requirements)):
        if match["extra"] not in _OURS:
            found.setdefault(match["extra"], []).append(match["name"])
    return found


def _required() -> list[str]:
    try:
        return metadata.requires("dof-arrow") or []
    except metadata.PackageNotFoundError:
        return []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
