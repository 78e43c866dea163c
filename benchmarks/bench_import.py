"""Start-up: `import dof_arrow` against `import pyarrow`; `dof --help`; whole processes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from benchmarks.measure import in_turn, keep


def run(runs: int = 15) -> dict[str, Any]:
    """Seconds of whole processes, and without the interpreter's own start."""

    def python(*arguments: str) -> Any:
        return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    seconds = in_turn(
        {
            "python": python("-c", "pass"),
            "import pyarrow": python("-c", "import pyarrow"),
            "import dof_arrow": python("-c", "import dof_arrow"),
            "import dof_arrow, open": python("-c", "import dof_arrow; dof_arrow.open"),
            "dof --help": python("-m", "dof_arrow", "--help"),
        },
        runs,
    )
    bare = seconds["python"]["median"]
    own = {name: s["median"] - bare for name, s in seconds.items() if name != "python"}
    return {
        "seconds": seconds,
        "own_seconds": own,
        "import_over_pyarrow": own["import dof_arrow"] / own["import pyarrow"],
        "import_and_open_over_pyarrow": own["import dof_arrow, open"] / own["import pyarrow"],
    }


if __name__ == "__main__":
    keep("import", run())
