"""Rows of files side by side or one after the other: selection, join, gather, targets."""
