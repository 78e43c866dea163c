"""Files of DoF 2.x as JSON: nodes of `instance`, `description` and `content`.

What an element wraps stands in the text as the hexadecimal digits of a pickle.
"""

from __future__ import annotations

from typing import Any

from dof_arrow.rewrite.legacy import version_2
from dof_arrow.rewrite.legacy.content import Content, LegacyDocument, expect, unfit
from dof_arrow.rewrite.legacy.version_1 import parsed

_MODEL = {
    "model_info": "model",
    "model_training": "training",
    "model_data_processing": "data_processing",
    "model_performance": "performance",
}


def is_version_2(value: Any) -> bool:
    """Whether a JSON value is a node of DoF 2.x."""
    return isinstance(value, dict) and isinstance(value.get("instance"), dict)


def of_json(root: Any, where: str) -> Content:
    """What a JSON text of DoF 2.x holds; FormatError or SourceError where it is not sound."""
    kind = root["instance"].get("class")
    if kind != "DofFile":
        raise unfit(where, "a DofFile", str(kind))
    if "content" not in root:
        raise unfit(where, "a dataset", "a description of one, without its elements")
    parts = _content(root, where, "DofFile")
    dataset = expect(parts.get("dof_dataset"), dict, where, "dof_dataset")
    inside = _content(dataset, where, "dof_dataset")
    about = expect(dataset.get("description", {}), dict, where, "description")
    content = Content(form="2.x JSON")
    for name, node in expect(inside.get("elements"), dict, where, "elements").items():
        content.elements.append(_element(name, node, where))
    content.elements.sort(key=lambda element: element.id)
    here = {element.id for element in content.elements}
    last = max(here, default=-1) + 1
    content.next_id = expect(about.get("next_id", last), int, where, "next_id")
    linked = expect(inside.get("links"), dict, where, "links")
    content.links = version_2.links(linked.get("content"), where)
    content.deleted = version_2.deleted(set(), here, content.next_id, where)
    told = root.get("description")
    path = told.get("dof_basepath") if isinstance(told, dict) else None
    version_2.tell_base(content, path, about.get("is_dof"))
    if parts.get("dof_info"):
        content.info = version_2.texts(_content(parts["dof_info"], where, "dof_info"), where)
    _add_documents(content, parts.get("dof_documents"), where)
    _add_model(content, parts.get("dof_model_info"), where)
    return content


def _content(node: Any, where: str, what: str) -> dict[str, Any]:
    node = expect(node, dict, where, what)
    found: dict[str, Any] = expect(node.get("content"), dict, where, f"the content of {what}")
    return found


def _element(name: str, node: Any, where: str) -> Any:
    if not name.isascii() or not name.isdecimal() or len(name) > 16:
        raise unfit(where, "numbers of elements", ascii(name))
    node = expect(node, dict, where, f"element {name}")
    about = expect(node.get("description"), dict, where, f"description of element {name}")
    info = about.get("element_info")
    if info is not None:
        info = _content(info, where, f"information of element {name}")
    data = _object(node.get("content"), f"{where}, element {name}")
    return version_2.element(int(name), about.get("element_type"), data, info, where)


def _object(node: Any, where: str) -> Any:
    """The object that a node has as the digits of a pickle."""
    node = expect(node, dict, where, "DofObject")
    digits = expect(node.get("content"), str, where, "the digits of a pickle")
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        raise unfit(where, "the digits of a pickle", "others") from None
    return version_2.load(data, where)


def _add_documents(content: Content, node: Any, where: str) -> None:
    if node is None:
        return
    node = expect(node, dict, where, "dof_documents")
    for item in expect(node.get("content"), list, where, "the content of dof_documents"):
        item = expect(item, dict, where, "a document")
        about = expect(item.get("description", {}), dict, where, "the description of a document")
        text = expect(item.get("content"), str, where, "the content of a document")
        data = version_2.unwrapped(_object(parsed(text.encode(), where), f"{where}, a document"))
        info = version_2.texts(about.get("about", {}), where)
        content.documents.append(LegacyDocument(data=data, info=info))


def _add_model(content: Content, node: Any, where: str) -> None:
    if node is None:
        return
    inside = _content(node, where, "dof_model_info")
    for name, section in _MODEL.items():
        entries = version_2.texts(inside.get(name, {}), where)
        found: dict[str, Any] = {}
        for key, value in entries.items():
            if isinstance(value, dict) and "instance" in value:
                value = version_2.unwrapped(_object(value, f"{where}, {section} {key}"))
            found[key] = value
        if found:
            content.model[section] = found
