"""`dof doctor`: what is installed, what to install, and what runs a core fastest here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from dof_arrow.cli.exit_codes import DONE
from dof_arrow.cli.options import making, spoken
from dof_arrow.cli.terminal import Terminal, table

if TYPE_CHECKING:
    from dof_arrow.cores.provider_rates import ProviderRate


@click.command()
@click.argument("core", required=False)
@making
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    show_default=True,
    help="Threads on which each picture is run.",
)
@spoken
def doctor(terminal: Terminal, core: str | None, threads: int, **options: Any) -> int:
    """Say what is installed, what runs cores here, and what to install for each ability.

    With a CORE, a model or builtin, also how fast each provider here runs it.
    """
    from dof_arrow.cli.doctor import examine

    report = examine()
    if core is None:
        terminal.result(report, *_lines(report))
        terminal.say("Next: dof demo")
        return DONE
    from dataclasses import asdict

    from dof_arrow.cores import builtin
    from dof_arrow.cores.provider_rates import provider_rates, recommended

    given = {name: value for name, value in options.items() if value is not None}
    with terminal.busy("measuring"):
        rates = provider_rates(builtin.resolve(core, threads=threads, **given))
    best = recommended(rates)
    report["core"] = core
    report["rates"] = [asdict(rate) for rate in rates]
    report["recommended"] = None if best is None else best.provider
    terminal.result(report, *_lines(report), "", *_rates(rates), "", _advice(rates, best))
    return DONE


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield from table(list(report["versions"].items()))
    yield ""
    providers = ", ".join(report["providers"])
    yield f"--provider: {providers}; threads: {report['threads']}"
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


def _rates(rates: Sequence[ProviderRate]) -> list[str]:
    """The table of what each provider does."""
    rows = [("provider", "pictures a second", "times the default", "starts in", "features differ")]
    for rate in rates:
        if rate.refused is None:
            rows.append(
                (
                    rate.provider,
                    f"{rate.per_second:,.0f}",
                    f"{rate.gain:.2f}",
                    f"{rate.start_seconds:.2f} s",
                    f"{rate.differs:.0e} of their norm" if rate.differs else "not at all",
                )
            )
    lines = table(rows)
    for rate in rates:
        if rate.refused is not None:
            lines.append(f"{rate.provider} cannot run it: {rate.refused}")
    return lines


def _advice(rates: Sequence[ProviderRate], best: ProviderRate | None) -> str:
    from dof_arrow.cores.provider_rates import RECOMMENDED, pays_from

    if best is None:
        return f"Nothing here is {RECOMMENDED:g} times the default, cpu: nothing need be asked for."
    return (
        f"{best.provider}: {best.gain:.1f} times the default, from about "
        f"{pays_from(best, rates[0]):,} pictures on; features differ by at most "
        f"{best.differs:.0e} of their norm; ask for it with --provider {best.provider}"
    )
