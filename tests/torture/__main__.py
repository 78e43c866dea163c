"""The long runs (`make torture`): every bit turned, footers rewritten, row groups that readers skip, every seeded fault, loaders
of all kinds, faulty inputs, servers that fail, all kills and power cuts, the heads of timm's families, drawn heads, how often
intervals hold the truth, faults of the audit."""

from __future__ import annotations

import json
from pathlib import Path

from tests.torture import (
    audit_faults,
    compositions,
    faults,
    faulty,
    flips,
    footers,
    heads,
    intervals,
    mutants,
    skipped_groups,
    store_faults,
    timm_heads,
)


def main() -> None:
    """Run them one after the other; each keeps its report in `results/`."""
    mutants.main()  # first: its children begin with what this process has loaded
    compositions.main()
    flips.main()
    footers.main()
    skipped_groups.main()
    faulty.main()
    store_faults.main()
    timm_heads.main()
    heads.main()
    intervals.main()
    audit_faults.main()
    kept = Path(__file__).with_name("results") / "faults.json"
    kept.write_text(json.dumps(faults.run(), indent=1) + "\n")
    print(kept.read_text())


if __name__ == "__main__":
    main()
