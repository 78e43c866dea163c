"""`dof doctor`: what is installed, and what to install."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import spoken
from dof_arrow.cli.terminal import Terminal, table


@click.command()
@spoken
def doctor(terminal: Terminal) -> int:
    """Say what is installed, which processors ONNX Runtime can use, and what to install for each
    ability."""
    from dof_arrow.cli.doctor import examine

    report = examine()
    terminal.result(report, *_lines(report))
    terminal.say("Next: dof demo")
    return DONE


def _lines(report: dict[str, Any]) -> Iterator[str]:
    from dof_arrow.cores.graph.runtime import short

    yield from table(list(report["versions"].items()))
    yield ""
    providers = ", ".join(map(short, report["providers"]))
    yield f"ONNX Runtime's --provider: {providers}; threads: {report['threads']}"
    key = report["id_key"]
    made = "" if key["exists"] else " (made when needed)"
    yield f"Key for pseudonyms: {key['path']}{made}"
    yield ""
    for extra, missing in report["extras"].items():
        yield f"dof-arrow[{extra}]: {_state(extra, missing)}"


def _state(extra: str, missing: list[str]) -> str:
    if not missing:
        return "installed"
    return f"missing {', '.join(missing)}; pip install 'dof-arrow[{extra}]'"
