"""The forms in which a dataset can be written, each a row of one table.

A new form is a row here and a function that writes it. This module loads nothing heavy, so that
`dof convert --help` can print the table at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

from dof_arrow.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form: the end of its files' names, what it is, which options it takes, what writes it.

    `writer` names a function of this wing, `module:function`. It is called with the dataset, the
    path, `overwrite`, and those of `options` that are given.
    """

    suffix: str
    help: str
    writer: str
    options: tuple[str, ...] = ()

    def load_writer(self) -> Callable[..., None]:
        """The function that writes this form; its module is imported now."""
        writer: Callable[..., None] = resolve_name(f"dof_arrow.rewrite.{self.writer}")
        return writer


DIRECTORY = Form(
    suffix=".dof",
    help="a directory of files",
    writer="convert:save_directory",
    options=("layout", "dtype", "rows_per_part"),
)
FORMS = (
    Form(
        suffix=".parquet",
        help="a DoF file",
        writer="convert:save_file",
        options=("layout", "dtype"),
    ),
    DIRECTORY,
    Form(suffix=".dof.json", help="DoF as JSON", writer="json_form:save"),
    Form(suffix=".arrow", help="an Arrow IPC file", writer="exports:save_arrow"),
    Form(suffix=".npy", help="the vectors alone", writer="exports:save_npy"),
    Form(suffix=".safetensors", help="vectors and numbers", writer="exports:save_safetensors"),
)


def file_form(path: Path) -> Form:
    """The form of a single file that a name asks for; UsageError if there is none.

    >>> file_form(Path("lungs.dof.json")).help
    'DoF as JSON'
    """
    for form in FORMS:
        # A name that is nothing but the suffix is a hidden file without one.
        if form is not DIRECTORY and path.name.endswith(form.suffix) and path.name != form.suffix:
            return form
    known = ", ".join(form.suffix for form in FORMS)
    raise UsageError("no such form", str(path), known, path.suffix or "none")


def check_taken(form: Form, option: str, path: Path) -> None:
    """Raise UsageError if a form does not take an option.

    >>> check_taken(file_form(Path("x.npy")), "dtype", Path("x.npy"))
    Traceback (most recent call last):
    dof_arrow.errors.UsageError: x.npy: dtype is chosen for .parquet and .dof only: expected \
OUT.parquet or OUT.dof, found x.npy
    """
    if option in form.options:
        return
    taking = [other.suffix for other in FORMS if option in other.options]
    raise UsageError(
        f"{option} is chosen for {' and '.join(taking)} only",
        str(path),
        " or ".join(f"OUT{suffix}" for suffix in taking),
        path.name,
    )
