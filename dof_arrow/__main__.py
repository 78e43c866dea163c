"""`python -m dof_arrow` is the command `dof`."""

import sys


def run() -> None:
    """The entry point: run the command line and exit with its code."""
    try:
        # Imported here, so that Ctrl-C while it loads shows no traceback either.
        from dof_arrow.cli.main import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    run()
