"""Checks of a file against the specification: every problem at once."""
