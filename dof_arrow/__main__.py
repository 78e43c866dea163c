"""`python -m dof_arrow` is the command `dof`."""

import sys

from dof_arrow.cli import main


def run() -> None:
    """The entry point: run the command line and exit with its code."""
    sys.exit(main())


if __name__ == "__main__":
    run()
