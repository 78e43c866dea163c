"""What `Listing.counts` counts: what was left out or put together, as a report tells it."""

from __future__ import annotations

# In the order in which it is told; `{inputs}` becomes pictures or clips. Rows of a table whose
# picture is not there (`without_file`) are told among the failures.
COUNTED = {
    "ignored": "files left out: no {inputs}",
    "dicomdir": "indexes of DICOM files left out",
    "hidden": "hidden files and folders left out",
    "linked_folders": "links to folders left out: they are read where they are",
    "loops": "links to folders left out: they lie in them themselves",
    "unreadable": "folders left out: they cannot be read",
    "not_utf8": "files left out: their names are not UTF-8",
    "special": "pipes, sockets and devices left out",
    "links": "links in archives left out",
    "sparse": "sparse files in archives left out",
    "outside": "files in archives left out: their names lead out of it",
    "repeated": "files in archives left out: they are there twice",
    "without_row": "{inputs} left out: the table has no row for them",
    "without_key": "rows of the table left out: they name no picture",
    "respelled": "rows matched by another spelling of the name",
    "loosely": "rows matched by --match",
    "doubled": "rows of a picture that has several, taken as one",
    "united_groups": "groups joined to others that share a picture",
}
