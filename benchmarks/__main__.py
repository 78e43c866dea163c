"""All benchmarks that need no data from outside (`make bench`), then the tables."""

from __future__ import annotations

import subprocess
import sys

MODULES = (
    "bench_import",
    "bench_write",
    "bench_label",
    "bench_read",
    "bench_side_by_side",
    "bench_million",
    "tables",
)

for module in MODULES:
    subprocess.run([sys.executable, "-m", f"benchmarks.{module}"], check=True)
