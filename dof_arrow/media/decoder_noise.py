"""What decoding libraries print, warn of or let pass: kept off stderr, and never lost.

Pillow warns and logs, pydicom too; libtiff prints on stderr, and goes on after errors that Pillow
does not report.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from typing import Any

from PIL import Image, _imaging

from dof_arrow.errors import PictureError
from dof_arrow.media.tiff_layout import mend

_libtiff = threading.local()

# Pillow logs broken tags; with no handler at all Python would print them on stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class _WhileAny:
    """A context that the first thread to enter opens and the last to leave closes.

    Python's warning filters belong to the process: threads that save and restore them by turns
    would lose them.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._open = self._make()
                self._open.__enter__()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._open.__exit__(None, None, None)


@contextmanager
def _decoders_warnings_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(PIL|pydicom|pillow_heif|pillow_jxl)\b")
        yield


without_warnings = _WhileAny(_decoders_warnings_ignored)


def load(picture: Image.Image) -> None:
    """Decode a picture's pixels; PictureError where libtiff saw an error that Pillow let pass."""
    mend(picture)
    _libtiff.failed = False
    picture.load()
    if _libtiff.failed:
        raise PictureError("the picture's bytes are damaged")


@cache
def listen_to_libtiff() -> None:
    """Note libtiff's errors for `load`, and let it print nothing.

    Both handlers belong to Pillow's own copy of the library; a build that hides them stays as it
    is.
    """
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(_imaging.__file__)
        _set_handler(library.TIFFSetErrorHandler, ctypes.cast(_HANDLER, ctypes.c_void_p))
        _set_handler(library.TIFFSetWarningHandler, None)


def _set_handler(setter: Any, handler: ctypes.c_void_p | None) -> None:
    setter.argtypes = [ctypes.c_void_p]
    setter.restype = ctypes.c_void_p
    setter(handler)


def _note_error(*_: object) -> None:
    _libtiff.failed = True


# Kept here for as long as the process lives: libtiff calls it from C.
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(_note_error)
