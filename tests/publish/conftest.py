"""What tests of publishing share."""

from __future__ import annotations

from tests.support.published import dataset, hub

__all__ = ["dataset", "hub"]
