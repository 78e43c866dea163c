"""The work of `dof doctor`: what is installed here, and what to install for each ability."""

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
    """Versions, providers, threads, the pseudonym key, and what each extra lacks.

    Providers are named as `--provider` takes them.

    Extras are those that the installed package declares; none where it runs from its source folder.
    """
    from dof_arrow._version import __version__
    from dof_arrow.cores.graph.runtime import available
    from dof_arrow.security.keys import key_file
    from dof_arrow.system import processors

    versions = {"dof-arrow": __version__, "python": platform.python_version()}
    for name in _BASE:
        versions[name] = _version(name) or "missing"
    missing = {}
    for extra, names in extras(_required()).items():
        missing[extra] = [name for name in names if not _version(name)]
    key = key_file()
    return {
        "versions": versions,
        "providers": available(),
        "threads": processors(),
        "id_key": {"path": str(key), "exists": key.exists()},
        "extras": missing,
    }


def extras(requirements: Iterable[str]) -> dict[str, list[str]]:
    """The libraries of each extra that a user may want, from a package's declared requirements.

    >>> extras(["numpy>=2", "av>=15; extra == 'video'", "ruff; extra == 'dev'"])
    {'video': ['av']}
    """
    found: dict[str, list[str]] = {}
    for requirement in requirements:
        match = _EXTRA.match(requirement)
        if match and match["extra"] not in _OURS:
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
