"""`dof doctor`: what is installed, and what to install."""

from __future__ import annotations

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import spoken
from dof_arrow.cli.terminal import Terminal, table


@click.command()
@spoken
def doctor(terminal: Terminal) -> int:
    """Say what is installed, which processors ONNX Runtime can use, and what to install for each ability."""
    from dof_arrow.cli.doctor import examine
    from dof_arrow.cores.graph.runtime import short

    report = examine()
    key = report["id_key"]
    lines = [
        table([(name, version) for name, version in report["versions"].items()]),
        "",
        f"ONNX Runtime's --provider: {', '.join(map(short, report['providers']))}; threads: {report['threads']}",
        f"Key for pseudonyms: {key['path']}{'' if key['exists'] else ' (made when needed)'}",
        "",
    ]
    lines += [
        f"dof-arrow[{extra}]: "
        + (
            "installed"
            if not missing
            else f"missing {', '.join(missing)}; pip install 'dof-arrow[{extra}]'"
        )
        for extra, missing in report["extras"].items()
    ]
    terminal.result(report, "\n".join(lines))
    terminal.say("Next: dof demo")
    return DONE
