"""The long runs (`make torture`): every bit turned, footers rewritten, every seeded fault, all kills and power cuts, drawn heads."""

from __future__ import annotations

import json
from pathlib import Path

from tests.torture import faults, flips, footers, heads, mutants


def main() -> None:
    """Run them one after the other; each keeps its report in `results/`."""
    mutants.main()  # first: its children begin with what this process has loaded
    flips.main()
    footers.main()
    heads.main()
    kept = Path(__file__).with_name("results") / "faults.json"
    kept.write_text(json.dumps(faults.run(), indent=1) + "\n")
    print(kept.read_text())


if __name__ == "__main__":
    main()
