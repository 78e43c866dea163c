"""A DoF file or directory: read, written, appended to."""
