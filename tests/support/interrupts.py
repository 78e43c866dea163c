"""Runs that are interrupted where it proves something: with whole blocks staged, and more to do."""

from __future__ import annotations

from pathlib import Path

from dof_arrow.extraction.engine import Progress


def staged_blocks(out: Path) -> list[Path]:
    """The blocks of an unfinished run that stand beside its output, a file or a directory."""
    return sorted(out.parent.glob(f".*{out.name}*.staging/*.arrow"))


def interrupt_after(blocks: int, out: Path) -> Progress:
    """What interrupts a run as soon as so many of its blocks are staged.

    A count of inputs does not serve: threads work at several blocks at a time, so that many inputs
    may be done and no block yet.
    """

    def stop(done: int, total: int, failed: int) -> None:
        if len(staged_blocks(out)) >= blocks:
            assert done < total
            raise KeyboardInterrupt

    return stop
