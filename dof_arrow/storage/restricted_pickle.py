"""Values out of a pickle, without Python's own reader of pickles.

A pickle is a program: it may name any function of any library and have it called. Here its
operations are carried out by a small machine of our own that imports nothing and calls nothing but
the makers handed to it. It makes plain values (None, numbers, texts, bytes, lists, tuples,
dictionaries with plain keys), arrays of numbers and texts, and records of classes that are known by
name alone. All else is refused: other names, the extension registry, buffers from elsewhere,
references to the outside that nobody asked for, objects within themselves, and values that would
be too many once each is written out (`pickled_values`).
"""

from __future__ import annotations

import io
import pickletools
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dof_arrow.errors import SourceError
from dof_arrow.storage import pickled_arrays, pickled_values
from dof_arrow.storage.pickled_values import LIMITS, Limits, Name, Ordered, Record, Refused, Unbuilt

Maker = Callable[..., Any]
Allowed = Mapping[str, Maker | None]

_KEY_BITS = 53  # larger integers may be chosen so that all fall into one place of a dictionary
_INTEGER_BITS = 256

# Operations that push the value which stands in the pickle itself.
_PLAIN = frozenset(
    [
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    ]
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LAST_PROTOCOL = 5
_BY_CLASS = ("copyreg._reconstructor", "copy_reg._reconstructor")
_DAMAGED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def load(
    data: bytes,
    *,
    where: str,
    allowed: Allowed,
    persistent: Maker | None = None,
    limits: Limits = LIMITS,
) -> Any:
    """The value that a pickle of any protocol (0 to 5) holds; bytes behind its end are refused.

    `allowed` says what it may name beside arrays of numpy, as `module.name`: with a maker, a
    function of ours that is called with the arguments instead; with None, a class whose objects
    become a `Record`. A maker raises `Refused` for arguments that it does not take. `persistent`
    makes what stands for a reference to the outside, from the reference.

    Raises SourceError for anything else, and for a pickle that is damaged or too large.

    >>> import pickle
    >>> load(pickle.dumps({"a": [1, "b"]}), where="x", allowed={})
    {'a': [1, 'b']}
    >>> load(pickle.dumps(eval), where="x", allowed={})
    Traceback (most recent call last):
    dof_arrow.errors.SourceError: x: a pickle that names what no data needs; nothing of it was \
run: expected numbers, texts and arrays, found builtins.eval
    """
    value, end = load_at(
        data, 0, where=where, allowed=allowed, persistent=persistent, limits=limits
    )
    if end != len(data):
        raise _damaged(where, f"{len(data) - end:,} bytes behind its end")
    return value


def load_at(
    data: bytes,
    start: int,
    *,
    where: str,
    allowed: Allowed,
    persistent: Maker | None = None,
    limits: Limits = LIMITS,
) -> tuple[Any, int]:
    """The value of the pickle that begins at a place in some bytes, and the place of its end."""
    if len(data) - start > limits.bytes:
        raise _damaged(where, f"{len(data):,} bytes, at most {limits.bytes:,}")
    machine = _Machine({**pickled_arrays.MAKERS, **allowed}, persistent, limits)
    try:
        with warnings.catch_warnings():
            # What `pickletools` says of odd escapes in a name, which is refused anyway.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", SyntaxWarning)
            value, end = machine.run(data, start)
        return pickled_values.finished(value, limits), end
    except Refused as refused:
        raise SourceError(
            "a pickle that names what no data needs; nothing of it was run",
            where,
            "numbers, texts and arrays",
            str(refused),
        ) from None
    except _DAMAGED as error:
        found = str(error).partition("\n")[0][:200] or type(error).__name__
        raise _damaged(where, found) from None


def is_pickle(start: bytes) -> bool:
    """Whether a file that begins so may be a pickle: of protocol 2 and above, or of an object.

    >>> import pickle
    >>> is_pickle(pickle.dumps([])), is_pickle(b"PK"), is_pickle(b"ccopy_reg\\n_reconstructor\\n")
    (True, False, True)
    """
    binary = len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5
    return binary or start.startswith((b"ccopy_reg\n", b"ccopyreg\n", b"c__builtin__\n"))


def _damaged(where: str, found: str) -> SourceError:
    return SourceError("the pickle is damaged or too large", where, found=found)


class _Machine:
    """Carries out the operations of one pickle."""

    def __init__(self, allowed: Allowed, persistent: Maker | None, limits: Limits) -> None:
        self._allowed = {**allowed, **dict.fromkeys(_BY_CLASS, self._reconstructed)}
        self._persistent = persistent
        self._limits = limits
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks under each mark
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes, start: int) -> tuple[Any, int]:
        """The value at the end, and where the pickle ends."""
        for count, (name, argument, place) in enumerate(_operations(data, start)):
            if count > self._limits.values:
                raise ValueError(f"more than {self._limits.values:,} operations")
            if name in _PLAIN:
                self._stack.append(_plain(argument))
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name == "STOP":
                if self._below:
                    raise ValueError("a mark is left over")
                return self._stack.pop(), place + 1
            elif name != "FRAME":
                self._carry_out(name, argument)
        raise ValueError("it ends too early")

    def _carry_out(self, name: str, argument: Any) -> None:
        work = _WORK.get(name)
        if work is None:
            raise Refused(f"the operation {name}")
        work(self, argument)

    def _to_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._below.pop()
        return items

    # What each operation does; see `pickletools.opcodes`.

    def _protocol(self, number: int) -> None:
        if number > _LAST_PROTOCOL:
            raise Refused(f"protocol {number}")

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._stack = self._below.pop()

    def _pop_mark(self, _: Any) -> None:
        self._to_mark()

    def _dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _put(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    def _empty_list(self, _: Any) -> None:
        self._stack.append([])

    def _empty_dict(self, _: Any) -> None:
        self._stack.append({})

    def _list(self, _: Any) -> None:
        items = self._to_mark()
        self._stack.append(items)

    def _tuple(self, _: Any) -> None:
        items = self._to_mark()
        self._stack.append(tuple(items))

    def _tuple_of(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError("too few values for a tuple")
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(items)

    def _dict(self, _: Any) -> None:
        items = self._to_mark()
        made: dict[Any, Any] = {}
        _enter(made, items)
        self._stack.append(made)

    def _append(self, _: Any) -> None:
        item = self._stack.pop()
        _extend(self._stack[-1], [item])

    def _appends(self, _: Any) -> None:
        items = self._to_mark()
        _extend(self._stack[-1], items)

    def _set_item(self, _: Any) -> None:
        value = self._stack.pop()
        key = self._stack.pop()
        _enter(self._stack[-1], [key, value])

    def _set_items(self, _: Any) -> None:
        items = self._to_mark()
        _enter(self._stack[-1], items)

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(self._named(module, name))

    def _stack_global(self, _: Any) -> None:
        name = self._stack.pop()
        module = self._stack.pop()
        self._stack.append(self._named(module, name))

    def _named(self, module: Any, name: Any) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("a name that is no text")
        full = f"{module}.{name}"
        if full not in self._allowed:
            raise Refused(full[:200])
        return Name(full)

    def _reduce(self, _: Any) -> None:
        arguments = self._stack.pop()
        self._stack[-1] = self._called(self._stack[-1], arguments)

    def _new_object_ex(self, _: Any) -> None:
        if self._stack.pop() != {}:
            raise Refused("arguments by name")
        self._reduce(None)

    def _object(self, _: Any) -> None:
        items = self._to_mark()
        self._stack.append(self._called(items[0], tuple(items[1:])))

    def _instance(self, argument: str) -> None:
        items = self._to_mark()
        module, _, name = argument.partition(" ")
        self._stack.append(self._called(self._named(module, name), tuple(items)))

    def _called(self, name: Any, arguments: Any) -> Any:
        """What a call of a function makes, or an object of a class."""
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise Refused("a call of what is no name")
        make = self._allowed[name.text]
        if make is None:
            return Record(name.text, arguments)
        return make(*arguments)

    def _reconstructed(self, kind: Any, base: Any, state: Any) -> Record:
        """An object as protocols 0 and 1 have it: of a class, with what its base class holds."""
        made = self._called(kind, ())
        if not isinstance(made, Record) or not isinstance(base, Name):
            raise Refused("an object of what is no class")
        if isinstance(state, dict):
            made.entries.update(state)
        elif isinstance(state, list):
            made.items.extend(state)
        elif state is not None:
            raise Refused(f"an object with the value of a {type(state).__name__}")
        return made

    def _build(self, _: Any) -> None:
        state = self._stack.pop()
        made = self._stack[-1]
        if isinstance(made, Record):
            made.set_state(state)
        elif isinstance(made, Unbuilt):
            made.build(state)
        elif not isinstance(made, Ordered):  # whose attributes are notes of torch on modules
            raise Refused(f"a state for a {type(made).__name__}")

    def _persistent_id(self, reference: Any) -> None:
        if self._persistent is None:
            raise Refused("a reference to the outside")
        self._stack.append(self._persistent(reference))

    def _binary_persistent_id(self, _: Any) -> None:
        self._persistent_id(self._stack.pop())


_WORK: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine._protocol,
    "MARK": _Machine._mark,
    "POP": _Machine._pop,
    "POP_MARK": _Machine._pop_mark,
    "DUP": _Machine._dup,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine._get),
    "MEMOIZE": _Machine._memoize,
    "EMPTY_LIST": _Machine._empty_list,
    "EMPTY_DICT": _Machine._empty_dict,
    "LIST": _Machine._list,
    "TUPLE": _Machine._tuple,
    "TUPLE1": lambda machine, _: machine._tuple_of(1),
    "TUPLE2": lambda machine, _: machine._tuple_of(2),
    "TUPLE3": lambda machine, _: machine._tuple_of(3),
    "DICT": _Machine._dict,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._set_items,
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "REDUCE": _Machine._reduce,
    "NEWOBJ": _Machine._reduce,
    "NEWOBJ_EX": _Machine._new_object_ex,
    "OBJ": _Machine._object,
    "INST": _Machine._instance,
    "BUILD": _Machine._build,
    "PERSID": _Machine._persistent_id,
    "BINPERSID": _Machine._binary_persistent_id,
}


def _operations(data: bytes, start: int) -> Iterator[tuple[str, Any, int]]:
    """The operations of the pickle that begins at a place: name, argument, place."""
    file = io.BytesIO(data)  # which does not copy the bytes
    file.seek(start)
    for operation, argument, place in pickletools.genops(file):
        yield operation.name, argument, place or 0


def _plain(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS:
        raise Refused("an integer of more than 256 bits")
    return bytes(value) if isinstance(value, bytearray) else value


def _extend(made: Any, items: list[Any]) -> None:
    if isinstance(made, Record):
        made.items.extend(items)
    elif type(made) is list:
        made.extend(items)
    else:
        raise Refused(f"items for a {type(made).__name__}")


def _enter(made: Any, items: list[Any]) -> None:
    """Put keys and values, in turn, into a dictionary."""
    entries = made.entries if isinstance(made, Record) else made
    if not isinstance(entries, dict) or len(items) % 2:
        raise Refused(f"entries for a {type(made).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) is int and key.bit_length() > _KEY_BITS:
            raise Refused("a key that is too large")
        # A tuple within tuples would be hashed by a recursion that nobody bounds.
        if key is not None and type(key) not in (str, int, bool, float, bytes):
            raise Refused(f"a key that is a {type(key).__name__}")
        entries[key] = value
