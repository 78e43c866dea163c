"""Files of DoF 1.0 and 2.x as the published code wrote them, made without it.

Its classes are stood in for by classes of the same names and attributes while a pickle is made.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import sys
import types
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_BASES: Mapping[str, Mapping[str, type]] = {
    "dof.file": {"DofFile": object},
    "dof.core": {"DofObject": object},
    "dof.data": {"Dataset": object, "DataElement": object, "LinkEngine": object},
    "dof.information": {
        "ContainerInfo": dict,
        "DataElementInfo": dict,
        "Document": dict,
        "DocumentContainer": list,
        "ModelInfo": object,
    },
}


@contextlib.contextmanager
def old_classes() -> Iterator[dict[str, type]]:
    """The classes by name; pickles made meanwhile name them by their old modules."""
    made = {}
    modules = {"dof": types.ModuleType("dof")}
    for module, classes in _BASES.items():
        modules[module] = types.ModuleType(module)
        for name, base in classes.items():
            made[name] = type(name, (base,), {"__module__": module})
            setattr(modules[module], name, made[name])
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield made
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class Old:
    """A dataset of 2.x: elements by number (kind, value, information), links, and what is said."""

    def __init__(
        self,
        elements: Mapping[int, tuple[str, Any, Any] | None],
        links: Sequence[tuple[int, int]],
        *,
        info: Mapping[str, str] | None = None,
        documents: Sequence[tuple[Any, Mapping[str, str]]] = (),
        model: Mapping[str, Mapping[str, Any]] | None = None,
        protocol: int = 4,
    ) -> None:
        self.elements = dict(elements)
        self.links = list(links)
        self.info = dict(info or {})
        self.documents = list(documents)
        self.model = dict(model or {})
        self.protocol = protocol

    def as_pickle(self) -> bytes:
        """The file as 2.x pickles it."""
        with old_classes() as classes:
            dataset = _object(
                classes["Dataset"],
                elements={key: self._element(classes, key) for key in self.elements},
                at=0,
                linker=_object(classes["LinkEngine"], links=self.links, at=0),
                is_dof=True,
            )
            documents = classes["DocumentContainer"]()
            documents.extend(self._document(classes, *each) for each in self.documents)
            file = _object(
                classes["DofFile"],
                dataset=dataset,
                info=_strict(classes["ContainerInfo"], self.info),
                documents=documents,
                model_info=self._model(classes),
                dof_basepath="/home/old/dof",
                at=0,
            )
            return pickle.dumps(file, self.protocol)

    def as_json(self) -> bytes:
        """The file as 2.x writes it as JSON."""
        elements = {}
        for key, element in self.elements.items():
            if element is not None:
                kind, value, info = element
                told = None if info is None else _node("DataElementInfo", info)
                elements[str(key)] = _node(
                    "DataElement",
                    self._json_object(value),
                    {"element_type": kind, "element_info": told},
                )
        inside = {
            "links": _node("DataElement", [list(pair) for pair in self.links]),
            "elements": elements,
        }
        about = {"is_dof": True, "next_id": len(self.elements)}
        names = {"model": "model_info"}
        model = {names.get(key, f"model_{key}"): value for key, value in self.model.items()}
        documents = []
        for data, info in self.documents:
            text = json.dumps(self._json_object(data))
            documents.append(_node("Document", text, {"about": dict(info)}))
        content = {
            "dof_dataset": _node("Dataset", inside, about),
            "dof_info": _node("ContainerInfo", self.info),
            "dof_documents": _node("DocumentContainer", documents),
            "dof_model_info": _node("ModelInfo", model),
        }
        root = _node("DofFile", content, {"dof_basepath": "/home/old/dof"})
        return json.dumps(root).encode()

    def write_zip(self, path: Path) -> Path:
        """The file as 2.x is coded to write it as a zip."""
        told = {}
        with old_classes() as classes, zipfile.ZipFile(path, "w") as archive:
            for key, element in self.elements.items():
                if element is None:
                    continue
                kind, value, info = element
                told[key] = {"element_type": kind}
                if info is not None:
                    told[key]["element_info"] = _node("DataElementInfo", info)
                archive.writestr(f"{key}.obj", pickle.dumps(value, self.protocol))
            documents = classes["DocumentContainer"]()
            documents.extend(self._document(classes, *each) for each in self.documents)
            parts = {
                "dataset.base": {"is_dof": True, "next_id": len(self.elements)},
                "elements.info": told,
                "elements.links": _node("DataElement", self.links),
                "dof.documents": documents,
                "dof.basepath": "/home/old/dof",
                "dof.info": _strict(classes["ContainerInfo"], self.info),
                "dof.modelinfo": self._model(classes),
            }
            for name, part in parts.items():
                archive.writestr(name, pickle.dumps(part, self.protocol))
        return path

    def _element(self, classes: Mapping[str, type], key: int) -> Any:
        element = self.elements[key]
        if element is None:
            return None
        kind, value, info = element
        told = None if info is None else classes["DataElementInfo"](info)
        data = _wrapped(classes, value)
        return _object(classes["DataElement"], data=data, element_type=kind, info=told)

    def _document(self, classes: Mapping[str, type], data: Any, info: Mapping[str, str]) -> Any:
        made = _strict(classes["Document"], info)
        made.__dict__["_Document__document"] = _wrapped(classes, data)
        return made

    def _model(self, classes: Mapping[str, type]) -> Any:
        sections: dict[str, Any] = {}
        for name in ("model", "training", "data_processing", "performance"):
            entries = {}
            for key, value in self.model.get(name, {}).items():
                entries[key] = value if isinstance(value, str) else _wrapped(classes, value)
            sections[name] = entries
        return _object(classes["ModelInfo"], **sections)

    def _json_object(self, value: Any) -> Any:
        with old_classes() as classes:
            digits = pickle.dumps(_wrapped(classes, value), self.protocol).hex()
        return _node("DofObject", digits, {"local_path": "", "real_binary": False})


def write_version_1(
    path: Path, rows: Sequence[tuple[Any, list[Any]]], info: Mapping[str, Any] | None = None
) -> Path:
    """A file of 1.0: of each row its x, and `[y]`, `[y, info]` or `[y, info, path]`."""
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        archive.writestr(".dofinfo/dataset.json", json.dumps(info or {}))
        listed = json.dumps([item for _, item in rows])
        archive.writestr(".dofinfo/elementslist.json", listed)
        for number, (x, _) in enumerate(rows):
            archive.writestr(f"{number}.out", pickle.dumps(x, 3))
    return path


def _object(kind: type, **attributes: Any) -> Any:
    """An object with private attributes, as Python names them."""
    made = kind.__new__(kind)
    made.__dict__.update({f"_{kind.__name__}__{key}": each for key, each in attributes.items()})
    return made


def _strict(kind: type, entries: Mapping[str, str]) -> Any:
    made = kind(entries)
    made.__dict__["_InformationStrict__mandatory_keys"] = ["author", "license"]
    return made


def _wrapped(classes: Mapping[str, type], value: Any) -> Any:
    return _object(classes["DofObject"], data=value, local_path="", online_link="", is_binary=False)


def _node(kind: str, content: Any, description: Any = None) -> dict[str, Any]:
    node = {"instance": {"class": kind, "module": "dof", "dof_version": "2.0"}}
    return {**node, "description": description or {}, "content": content}
