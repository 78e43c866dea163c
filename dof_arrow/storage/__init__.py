"""Bytes on disk and afar: atomic commits, copies, the memory map, downloads."""
