"""The columns of a Parquet schema: the leaves of the tree that its list of elements describes."""

from __future__ import annotations

from collections.abc import Iterator

from dof_arrow.errors import FormatError
from dof_arrow.format.parquet.compact import Struct, get, varint
from dof_arrow.format.parquet.footer import SchemaElement
from dof_arrow.format.spec.rules import broken

_MAX_NESTED = 100  # columns in columns
_MAX_SHOWN = 200  # bytes of a path in a message

LeafPath = tuple[bytes, ...]  # names from the root to a leaf, the root's left out


def leaf_paths(schema: list[Struct]) -> list[LeafPath]:
    """The paths of a schema's leaves, in order.

    Raises FormatError (`footer-schema`) if its elements are no tree.
    """
    elements = iter(schema)
    root = next(elements, {})
    found: list[LeafPath] = []
    for _ in range(_children(root)):
        found += _below(elements, ())
    if next(elements, None) is not None:
        raise _no_tree("elements left over")
    return found


def written(path: LeafPath) -> bytes:
    """The names of a path as they stand in a footer, each with its length before it."""
    return b"".join(varint(len(name)) + name for name in path)


def shown(path: LeafPath) -> str:
    """A path as messages show it: other people's names may be long or hold control characters."""
    text = b".".join(path)[:_MAX_SHOWN].decode("utf-8", "replace")
    return repr(text)[1:-1]


def _below(elements: Iterator[Struct], above: LeafPath) -> Iterator[LeafPath]:
    """Take the next element and all below it; their leaves."""
    element = next(elements, None)
    if element is None:
        raise _no_tree("too few elements")
    if len(above) == _MAX_NESTED:
        raise _no_tree("columns nested too deep")
    path = (*above, get(element, SchemaElement.NAME, b""))
    children = _children(element)
    if (SchemaElement.TYPE in element) == (children > 0):
        raise _no_tree("an element that is neither a group nor a column, or both")
    if not children:
        yield path
    for _ in range(children):
        yield from _below(elements, path)


def _children(element: Struct) -> int:
    return max(int(get(element, SchemaElement.CHILDREN, 0)), 0)


def _no_tree(found: str) -> FormatError:
    return broken("footer-schema", "footer", "a tree of columns", found)
