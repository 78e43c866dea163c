"""The media types of documents, by the end of their names."""

from __future__ import annotations

from pathlib import PurePosixPath

_OTHER = "application/octet-stream"
# Not the system's own table: equal edits give equal bytes on every machine.
_MEDIA_TYPES = {
    ".bib": "application/x-bibtex",
    ".csv": "text/csv",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".gif": "image/gif",
    ".html": "text/html",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".tex": "application/x-tex",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
}


def media_type(name: str) -> str:
    """The IANA media type of a document of this name.

    >>> media_type("protocol.PDF"), media_type("notes")
    ('application/pdf', 'application/octet-stream')
    """
    return _MEDIA_TYPES.get(PurePosixPath(name).suffix.lower(), _OTHER)
