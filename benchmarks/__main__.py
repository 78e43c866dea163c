"""All benchmarks that need no data from outside (`make bench`), then the tables."""

from __future__ import annotations

import subprocess
import sys

for module in ("bench_import", "bench_write", "bench_read", "bench_million", "tables"):
    subprocess.run([sys.executable, "-m", f"benchmarks.{module}"], check=True)
