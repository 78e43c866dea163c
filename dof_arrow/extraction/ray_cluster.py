"""A Ray cluster: how it is reached, and how many actors it has room for."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from dof_arrow.cores.graph.messages import first_line
from dof_arrow.errors import UsageError, require
from dof_arrow.system import processors

_ADDRESS = "RAY_ADDRESS"
_ANY = "auto"  # the cluster that this machine belongs to
_SECONDS = 10.0  # until a cluster is held not to be there
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its makers of this run
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # it would print to stdout, where results go, who died
    "RAY_worker_niceness": "0",  # else workers that are started here yield to every other program
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Where the cluster is, how many actors run cores there, and what each of them holds.

    `address` None is the cluster that RAY_ADDRESS names, else one on this machine that lives as
    long as the run; `actors` None: as many as there is room for.
    """

    address: str | None = None
    actors: int | None = None
    cpus: int = 1
    gpus: float = 0


def ray_module() -> ModuleType:
    """The library; MissingExtra with the command that installs it."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    return require("ray", extra="ray")


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster; one that is connected already is used, and left so.

    Raises UsageError where no cluster answers.
    """
    ray = ray_module()
    if ray.is_initialized():
        yield ray
        return
    where = address or os.environ.get(_ADDRESS)
    if where and where != _ANY:
        _check_answers(where)
    # A cluster that others have started knows its processors itself.
    own: dict[str, Any] = {"address": "local", "num_cpus": processors(), "include_dashboard": False}
    options = {"address": where} if where else own
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            "no Ray cluster that can be used",
            where or "this machine",
            found=first_line(error),
            hint="Start one, ray start --head, or leave --address out.",
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(where: str) -> None:
    """Raise UsageError where nothing answers at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = where.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise UsageError(
            "no address of a Ray cluster",
            "--address",
            "HOST:PORT, as ray start --head tells it",
            where,
            "Start the run on a machine of the cluster.",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            "no Ray cluster answers",
            where,
            found=str(error),
            hint="Start one, ray start --head, or leave --address out.",
        ) from error


def actors_on(nodes: Sequence[Mapping[str, Any]], options: ClusterOptions) -> int:
    """How many actors run on these nodes, as Ray lists them.

    Where cores run on GPUs at least one processor must be left for those that read pictures.
    Raises UsageError where not one actor has room, or fewer than are asked for.

    >>> node = {"Alive": True, "Resources": {"CPU": 4.0}}
    >>> actors_on([node, node], ClusterOptions(cpus=3))
    2
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    room = sum(_room(each, options) for each in resources)
    cpus = sum(each.get("CPU", 0) for each in resources)
    if options.gpus:
        room = min(room, int((cpus - 1) // options.cpus))
    wanted = room if options.actors is None else options.actors
    if not 1 <= wanted <= room:
        gpus = sum(each.get("GPU", 0) for each in resources)
        also = " and a CPU besides, which reads pictures" if options.gpus else ""
        raise UsageError(
            "the cluster has no room for the actors",
            expected=f"{options.cpus} CPUs and {options.gpus:g} GPUs on one machine for each of "
            f"{max(wanted, 1)}{also}",
            found=f"{len(resources)} machines with {cpus:g} CPUs and {gpus:g} GPUs in all",
            hint="Lower --workers, --actor-cpus or --actor-gpus.",
        )
    return wanted


def _room(resources: Mapping[str, float], options: ClusterOptions) -> int:
    """How many actors one machine has room for."""
    room = resources.get("CPU", 0) // options.cpus
    if options.gpus:
        room = min(room, resources.get("GPU", 0) // options.gpus)
    return int(room)
