"""Files that attack whoever reads them: pickles, zips, .npz, HDF5 and files of torch.

Each would leave a trace if anything of it were run: it makes the folder that it is given as `trace`,
or imports `TRAP`, a module that nobody else does. Others are made to fill the memory or to lead out
of a folder.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.legacy import Old

TRAP = "antigravity"

Attack = Callable[[Path], bytes]


class _Call:
    """An object whose pickle calls a function."""

    def __init__(
        self, function: Any, *arguments: Any, then: Mapping[str, Any] | None = None
    ) -> None:
        self._parts = (function, arguments, *([then] if then else []))

    def __reduce__(self) -> Any:
        return self._parts


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _called(module: str, name: str, *texts: str) -> bytes:
    return _named(module, name) + b"(" + b"".join(map(_text, texts)) + b"tR"


def _makes(trace: Path) -> Any:
    return _Call(os.mkdir, str(trace))


def _code(trace: Path) -> str:
    return f"__import__('os').mkdir({str(trace)!r})"


def _wrapped(inner: bytes) -> bytes:
    """A pickle of a DofFile that holds what other operations make."""
    state = b"}" + _text("_DofFile__dataset") + inner + b"s"
    return b"\x80\x02" + _named("dof.file", "DofFile") + b")\x81" + state + b"b."


def _doubled_lists(times: int) -> bytes:
    """A list that holds another one twice, and so on: 2 to the power of `times` values."""
    made = b"\x80\x04]\x94"
    for place in range(times):
        twice = b"h" + bytes([place])
        made += b"0](" + twice + twice + b"e\x94"
    return made + b"."


def _doubled_tuples(times: int) -> bytes:
    return b"\x80\x04K\x01\x85" + b"2\x86" * times + b"."


def _array_of_objects(trace: Path) -> bytes:
    array = np.empty(1, object)
    array[0] = _makes(trace)
    return pickle.dumps(array)


def _numpy_array(shape: bytes, kind: str, data: bytes) -> bytes:
    """A pickled array whose shape, type and bytes need not agree; `shape` as operations."""
    dtype = _named("numpy", "dtype") + b"(" + _text(kind) + b"\x89\x88tR"
    order = b"(K\x03" + _text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    stored = b"B" + struct.pack("<I", len(data)) + data
    made = _named("numpy.core.multiarray", "_reconstruct")
    made += b"(" + _named("numpy", "ndarray") + b"K\x00\x85C\x01btR"
    state = b"(K\x01" + shape + dtype + order + b"\x89" + stored + b"tb"
    return b"\x80\x02" + made + state + b"."


PICKLES: dict[str, Attack] = {
    "makes a folder": lambda t: pickle.dumps(_makes(t)),
    "makes a folder, protocol 0": lambda t: pickle.dumps(_makes(t), 0),
    "makes a folder, protocol 5": lambda t: pickle.dumps(_makes(t), 5),
    "eval": lambda t: pickle.dumps(_Call(eval, _code(t))),
    "exec": lambda t: pickle.dumps(_Call(exec, _code(t))),
    "system": lambda t: b"\x80\x02" + _called("os", "system", f"mkdir {t}") + b".",
    "posix": lambda t: b"\x80\x02" + _called("posix", "system", f"mkdir {t}") + b".",
    "subprocess": lambda t: b"\x80\x02" + _called("subprocess", "getoutput", f"mkdir {t}") + b".",
    "import a module": lambda t: b"\x80\x02" + _called("builtins", "__import__", TRAP) + b".",
    "name of a module that runs": lambda t: b"\x80\x02c" + TRAP.encode() + b"\nx\n.",
    "name of a module, on the stack": lambda t: b"\x80\x04" + _text(TRAP) + _text("x") + b"\x93.",
    "dotted name": lambda t: (
        b"\x80\x04" + _text("numpy") + _text("core.multiarray.fromfile") + b"\x93."
    ),
    "numpy's own eval": lambda t: (
        b"\x80\x02" + _called("numpy.testing._private.utils", "runstring", _code(t), "x") + b"."
    ),
    "numpy.load": lambda t: b"\x80\x02" + _called("numpy", "load", str(t)) + b".",
    "numpy.fromfile": lambda t: b"\x80\x02" + _called("numpy", "fromfile", "/etc/passwd") + b".",
    "memmap over a file": lambda t: (
        b"\x80\x02"
        + _named("numpy.core.multiarray", "_reconstruct")
        + b"("
        + _named("numpy", "memmap")
        + b"K\x00\x85C\x01btR."
    ),
    "torch.load within": lambda t: b"\x80\x02" + _called("torch", "load", str(t)) + b".",
    "a pickle within": lambda t: (
        b"\x80\x02"
        + _named("pickle", "loads")
        + b"(B"
        + struct.pack("<I", len(pickle.dumps(_makes(t))))
        + pickle.dumps(_makes(t))
        + b"tR."
    ),
    "codecs": lambda t: b"\x80\x02" + _called("_codecs", "decode", "x", "zlib") + b".",
    "encode with another codec": lambda t: (
        b"\x80\x02" + _called("_codecs", "encode", "x", "unicode_escape") + b"."
    ),
    "copyreg of a function": lambda t: (
        b"\x80\x02"
        + _named("copyreg", "_reconstructor")
        + b"("
        + _named("builtins", "dict")
        + _named("builtins", "object")
        + b"NtR."
    ),
    "state of a function": lambda t: b"\x80\x02" + _named("builtins", "bytes") + b"}b.",
    "state with a hook": lambda t: pickle.dumps(_Call(list, then={"__setstate__": 1})),
    "getattr chain": lambda t: (
        b"\x80\x02" + _called("builtins", "getattr", "x", "__class__") + b"."
    ),
    "old instance": lambda t: b"(" + _text(f"mkdir {t}") + b"ios\nsystem\n.",
    "old object": lambda t: b"(" + _named("os", "system") + _text(f"mkdir {t}") + b"o.",
    "persistent reference": lambda t: b"\x80\x02" + _text("secret") + b"Q.",
    "persistent reference as text": lambda t: b"Psecret\n.",
    "extension registry": lambda t: b"\x80\x02\x82\x01.",
    "buffer from elsewhere": lambda t: b"\x80\x05\x97.",
    "array of objects": _array_of_objects,
    "array with fields": lambda t: pickle.dumps(np.zeros(1, [("a", "O")])),
    "array larger than its bytes": lambda t: _numpy_array(
        b"J\xff\xff\xff\x7f\x85", "f8", b"12345678"
    ),
    "array of negative length": lambda t: _numpy_array(b"J\xff\xff\xff\xff\x85", "f8", b""),
    "array of pointers": lambda t: _numpy_array(b"K\x01\x85", "O", b"12345678"),
    "lists that double": lambda t: _doubled_lists(50),
    "tuples that double": lambda t: _doubled_tuples(40),
    "list within itself": lambda t: b"\x80\x02]q\x00h\x00a.",
    "deep": lambda t: b"\x80\x02" + b")" + b"\x85" * 200_000 + b".",
    "deep key": lambda t: b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.",
    "keys that collide": lambda t: (
        b"\x80\x02}("
        + b"".join(
            b"\x8a\x09" + (k * (2**61 - 1)).to_bytes(9, "little") + b"N" for k in range(1, 900)
        )
        + b"u."
    ),
    "place of a memo": lambda t: b"\x80\x02Nr\xff\xff\xff\xff" + b"\x82\x01.",
    "endless text": lambda t: b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7fabc.",
    "endless bytes": lambda t: b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fabc.",
    "number of many digits": lambda t: b"\x80\x02I" + b"9" * 100_000 + b"\n.",
    "long number": lambda t: b"\x80\x02\x8b\x00\x00\x01\x00" + b"\x7f" * 65536 + b".",
    "too few values": lambda t: b"\x80\x02\x87.",
    "no mark": lambda t: b"\x80\x02t.",
    "cut off": lambda t: pickle.dumps(_makes(t))[:-3],
    "behind its end": lambda t: pickle.dumps([]) + pickle.dumps(_makes(t)),
    "nothing but a beginning": lambda t: b"\x80\x04",
    "other protocol": lambda t: b"\x80\x63N.",
    "within a dataset": lambda t: _wrapped(_called("os", "system", f"mkdir {t}")),
    "as a value": lambda t: Old({0: ("x", _makes(t), None)}, []).as_pickle(),
    "as digits in JSON": lambda t: Old({0: ("x", _makes(t), None)}, []).as_json(),
    "as a document in JSON": lambda t: Old({}, [], documents=[(_makes(t), {})]).as_json(),
    "as model information": lambda t: Old({}, [], model={"model": {"a": _makes(t)}}).as_pickle(),
}


def _zip(members: Mapping[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return made.getvalue()


def _old_zip(x: bytes = b"", **others: bytes) -> bytes:
    """A file of DoF 1.0 with one record."""
    members = {".dofinfo/dataset.json": b"{}", ".dofinfo/elementslist.json": b"[[0]]", "0.out": x}
    return _zip({**members, **others})


def _honest() -> bytes:
    return _old_zip(pickle.dumps(np.ones(2, "f4")))


def _twice() -> bytes:
    """Two members of one name, of which readers take one or the other."""
    data = bytearray(_old_zip(pickle.dumps(np.ones(2, "f4")), **{"1.out": b"other"}))
    return bytes(data.replace(b"1.out", b"0.out"))


def _patched(data: bytes, place: int, value: bytes, name: bytes = b"0.out") -> bytes:
    """A zip with bytes changed in the directory's entry of a member; see APPNOTE 4.3.12."""
    entry = data.rindex(b"PK\1\2", 0, data.rindex(name))
    start = entry + place
    return data[:start] + value + data[start + len(value) :]


def _overlapping() -> bytes:
    """A member that lies within another one."""
    data = _old_zip(pickle.dumps(np.ones(2, "f4")), **{"1.out": b"x" * 200})
    return _patched(data, 42, struct.pack("<I", 0), b"1.out")


def _bomb() -> bytes:
    """A member of a few kilobytes that unpacks to 64 MiB."""
    members = {".dofinfo/dataset.json": b"{}", ".dofinfo/elementslist.json": b"[[0]]"}
    return _zip({**members, "0.out": bytes(64 << 20)}, zipfile.ZIP_DEFLATED)


def _understated() -> bytes:
    """A deflated member that unpacks to a thousand times what the directory says."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(".dofinfo/dataset.json", "{}")
        archive.writestr(".dofinfo/elementslist.json", "[[0]]")
        archive.writestr("0.out", bytes(1 << 20))
    return _patched(made.getvalue(), 24, struct.pack("<I", 1024))


ZIPS: dict[str, Attack] = {
    "a pickle that calls": lambda t: _old_zip(pickle.dumps(_makes(t))),
    "name that leads up": lambda t: _old_zip(b"", **{f"../{t.name}": b"x"}),
    "absolute name": lambda t: _old_zip(b"", **{str(t): b"x"}),
    "name of a drive": lambda t: _old_zip(b"", **{"C:\\x": b"x"}),
    "backslashes": lambda t: _old_zip(b"", **{"..\\x": b"x"}),
    "two of one name": lambda t: _twice(),
    "encrypted": lambda t: _patched(_honest(), 8, b"\x01\x00"),
    "other packing": lambda t: _patched(_honest(), 10, b"\x0e\x00"),
    "members that share bytes": lambda t: _overlapping(),
    "beyond its end": lambda t: _patched(_honest(), 42, struct.pack("<I", 1 << 30)),
    "larger than it is": lambda t: _patched(_honest(), 24, struct.pack("<I", 1 << 30)),
    "bomb": lambda t: _bomb(),
    "understated": lambda t: _understated(),
    "wrong sum": lambda t: _patched(_honest(), 16, b"abcd"),
    "directory cut off": lambda t: _honest()[:-30],
    "pickled zip parts": lambda t: _zip(
        {"dataset.base": pickle.dumps(_makes(t)), "elements.info": pickle.dumps({})}
    ),
    "information that calls": lambda t: _zip(
        {
            "dataset.base": pickle.dumps({"is_dof": True, "next_id": 0}),
            "elements.info": pickle.dumps({0: _makes(t)}),
        }
    ),
    "another kind of zip": lambda t: _zip({"a.txt": b"hello"}),
}


def _npz_of_objects(trace: Path) -> bytes:
    made = io.BytesIO()
    np.savez(made, a=np.array([_makes(trace)], object))
    return made.getvalue()


def _npy_that_claims(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header = text.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def _torch_zip(data: bytes) -> bytes:
    return _zip({"archive/data.pkl": data, "archive/version": b"3\n", "archive/data/0": b"1234"})


def _torch_old(data: bytes) -> bytes:
    heads = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(head, 2) for head in heads) + data + pickle.dumps([], 2)


ARRAYS: dict[str, Attack] = {
    "x.npz": _npz_of_objects,
    "claims.npz": lambda t: _zip({"a.npy": _npy_that_claims("(999999999999,)")}),
    "lies.npz": lambda t: _zip({"a.npy": b"\x93NUMPY\x01\x00\xff\xff"}),
    "code.npz": lambda t: _zip({"a.npy": _npy_that_claims(f"({_code(t)},)")}),
    "cut.npz": lambda t: _zip({"a.npy": _npy_that_claims("(1,)") + bytes(8)})[:-30],
    "encrypted.npz": lambda t: _patched(
        _zip({"a.npy": _npy_that_claims("(1,)") + bytes(8)}), 8, b"\x01\x00", b"a.npy"
    ),
    "x.npy": _array_of_objects,
    "claims.npy": lambda t: _npy_that_claims("(999999999999,)"),
    "x.h5": lambda t: b"\x89HDF\r\n\x1a\n" + pickle.dumps(_makes(t)),
    "cut.h5": lambda t: b"\x89HDF\r\n\x1a\n" + b"\xff" * 88,
    "x.pt": lambda t: _torch_zip(pickle.dumps(_makes(t))),
    "name.pt": lambda t: _torch_zip(b"\x80\x02" + _called("os", "system", f"mkdir {t}") + b"."),
    "old.pt": lambda t: _torch_old(pickle.dumps(_makes(t), 2)),
    "two.pt": lambda t: _zip({"a/data.pkl": b"N.", "b/data.pkl": pickle.dumps(_makes(t))}),
}
