"""Every drawn estimator and network as a head: equal to its model far beyond its rows, or refused by name."""

from __future__ import annotations

import sys

from tests.support.drawn_heads import COUNT, draw, fault


def main() -> None:
    """Try them all; the process ends with 1 if one is wrong."""
    wrong = [text for seed in range(COUNT) if (text := fault(draw(seed)))]
    print(f"{COUNT} drawn heads, {len(wrong)} wrong", *wrong, sep="\n")
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
