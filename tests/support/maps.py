"""What the system says of memory that is mapped."""

from __future__ import annotations

from pathlib import Path


def mapping_at(address: int) -> tuple[str, int]:
    """The file that is mapped at an address of this process, "" for none, and how many bytes of the
    map are copies of its own."""
    path = ""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        span = line.split(" ", 1)[0]
        if "-" in span and not line.startswith(" "):
            start, stop = span.split("-")
            inside = int(start, 16) <= address < int(stop, 16)
            path = "".join(line.split(maxsplit=5)[5:])
        elif inside and line.startswith("Anonymous:"):
            return path, int(line.split()[1]) << 10
    raise LookupError(hex(address))
