"""`python -m dof_arrow` is the command `dof`."""

import gc
import sys

# New objects between two rounds of Python's collector, in place of 700: what a command loads stays,
# and looking through it again and again takes a tenth of a command's start.
_OBJECTS = 200_000


def run() -> None:
    """The entry point: run the command line and exit with its code."""
    gc.set_threshold(_OBJECTS)
    try:
        # Imported here, so that Ctrl-C while it loads shows no traceback either.
        from dof_arrow.cli.main import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    run()
