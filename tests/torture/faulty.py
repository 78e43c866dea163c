"""10,000 inputs, four faults of every kind among them: the run ends, tells them all, twice alike."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.support.faulty_inputs import check

SOUND, EACH = 9_900, 4


def main() -> None:
    """Run it; the report is kept in `results/`."""
    with tempfile.TemporaryDirectory() as folder:
        report = check(Path(folder), SOUND, EACH)
    kept = Path(__file__).with_name("results") / "faulty.json"
    kept.write_text(json.dumps(report, indent=1) + "\n")
    print(kept.read_text())


if __name__ == "__main__":
    main()
