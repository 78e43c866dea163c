"""Metadata of an older dataset in the sections of ours: information, model, documents."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dof_arrow.format.spec.json_model import Json
from dof_arrow.format.spec.media_types import media_type
from dof_arrow.rewrite.legacy.content import Content, LegacyDocument
from dof_arrow.rewrite.legacy.plain_values import depth, json_text, plain, scalar, text

# What each name of an older model's sections is called here, and in which section it stands.
MODEL_NAMES: Mapping[str, Mapping[str, str]] = {
    "model": {
        "model_name": "model_name",
        "original_framework": "framework",
        "structure": "structure",
        "weights_and_biases_data": "weights",
        "trainable_parameters": "trainable_parameters",
        "optimizer": "optimizer",
        "optimizer_parameters": "optimizer_parameters",
        "criterion": "criterion",
        "criterion_parameters": "criterion_parameters",
        "x_structure": "input",
        "x_preprocessing_requirements": "input_requirements",
        "y_structure": "output",
        "y_postprocessing_requirements": "output_requirements",
        "intended_use_statement": "intended_use",
        "indications_for_use": "indications_for_use",
        "device_limitations": "device_limitations",
        "other": "other",
        "note": "note",
    },
    "training": {
        "initialization_method": "initialization",
        "batch_size": "batch_size",
        "optimizer_learning_rate": "learning_rate",
        "optimizer_momentum": "momentum",
        "other": "other",
        "note": "note",
    },
    "data_processing": {
        "prepocessing_steps": "steps",
        "crop": "crop",
        "resize": "resize",
        "normalization": "normalization",
        "horizontal_flip": "horizontal_flip",
        "vertical_flip": "vertical_flip",
        "height_shift": "height_shift",
        "width_shift": "width_shift",
        "rotation_angle": "rotation",
        "shear_range": "shear",
        "zoom_range": "zoom",
        "other": "other",
        "note": "note",
    },
    "performance": {
        "training_performance": "summary",
        "training_loss": "training_loss",
        "test_loss": "test_loss",
        "validation_loss": "validation_loss",
        "ROC_curve": "roc",
        "P-R_curve": "precision_recall",
        "F1_score": "f1",
        "confusion_matrix": "confusion_matrix",
        "other": "other",
        "note": "note",
    },
}
_INFO_NAMES = {
    "title": "title",
    "description": "description",
    "source": "source",
    "original_source": "source",
    "original_license": "source_license",
    "license": "license",
    "dof_license": "license",
}
_PEOPLE = (
    ("author", "author_contact", "author"),
    ("dof_author", "dof_author_contact", "author"),
    ("original_author", "original_author_contact", "author of the raw data"),
)
_DEEP = 16  # levels of JSON that stand in a section; metadata may have 32 in all
_CORE = ("coremodel_family", "coremodel_type")


@dataclass(slots=True, kw_only=True)
class About:
    """Sections of the metadata, and documents: name, bytes and media type of each."""

    info: dict[str, Json] = field(default_factory=dict)
    training: dict[str, Json] = field(default_factory=dict)
    performance: dict[str, Json] = field(default_factory=dict)
    core: str = ""
    documents: list[tuple[str, bytes, str]] = field(default_factory=list)
    # What is said of each document, by its name here.
    told: dict[str, Json] = field(default_factory=dict)

    def attach(self, name: str, data: bytes) -> str:
        """Add a document under a name that is free and has no folders; gives that name."""
        taken = {each for each, _, _ in self.documents}
        stem, dot, ending = _file_name(name).rpartition(".")
        free = f"{stem}{dot}{ending}"
        count = 1
        while free in taken:
            count += 1
            free = f"{stem}-{count}{dot}{ending}" if stem else f"{ending}-{count}"
        self.documents.append((free, data, media_type(free)))
        return free


def about(content: Content) -> About:
    """The metadata and the documents of an older dataset."""
    found = About(info=_information(content.info))
    family = [text(content.info[name]) for name in _CORE if content.info.get(name)]
    found.core = " ".join(family)
    for document in content.documents:
        _add_document(found, document)
    training = content.model.get("model", {})
    _add_section(found, found.training, "model", training)
    _add_section(found, found.training, "training", content.model.get("training", {}))
    processing: dict[str, Json] = {}
    _add_section(found, processing, "data_processing", content.model.get("data_processing", {}))
    if processing:
        found.training["data_processing"] = processing
    _add_section(found, found.performance, "performance", content.model.get("performance", {}))
    return found


def _information(given: Mapping[str, Json]) -> dict[str, Json]:
    """The owner's section: what it has a field for, contacts, and all else as keys."""
    left = dict(given)
    info: dict[str, Json] = {}
    for name, ours in _INFO_NAMES.items():
        if isinstance(left.get(name), str) and left[name] and ours not in info:
            info[ours] = left.pop(name)
    contacts = []
    for name, address, role in _PEOPLE:
        if not isinstance(left.get(name), str) or not left[name]:
            continue
        contact = {"name": left.pop(name), "role": role}
        if isinstance(left.get(address), str) and left[address]:
            contact["email"] = left.pop(address)
        contacts.append(contact)
    if contacts:
        info["contacts"] = contacts
    if left:
        info["keys"] = {name: text(value) for name, value in left.items()}
    return info


def _add_document(found: About, document: LegacyDocument) -> None:
    told = document.info
    wanted = told.get("file") or told.get("title") or "document"
    name, data = _stored(wanted, document.data)
    if data is None:
        found.told[f"document without content: {wanted}"] = dict(told)
        return
    free = found.attach(name, data)
    if told and told != {"file": free}:
        found.told[free] = dict(told)


def _add_section(
    found: About, section: dict[str, Json], group: str, entries: Mapping[str, Any]
) -> None:
    """Put entries under the names of ours; arrays and bytes become documents."""
    for name, value in entries.items():
        if value is None:  # an entry of the template that nobody filled in
            continue
        ours = MODEL_NAMES[group].get(name, name)
        if ours in section:
            ours = f"{group}_{name}"
        value = scalar(value)
        if isinstance(value, np.ndarray | bytes):
            stored, data = _stored(f"{group}-{name}", value)
            section[ours] = {"document": found.attach(stored, data or b"")}
        else:
            told = plain(value)
            section[ours] = told if depth(told) <= _DEEP else text(value)


def _stored(name: str, data: Any) -> tuple[str, bytes | None]:
    """A document's name and bytes, None for a value that is missing."""
    if data is None or isinstance(data, bytes):
        return name, data
    if isinstance(data, str):
        return name if "." in name else f"{name}.txt", data.encode()
    if isinstance(data, np.ndarray):
        file = io.BytesIO()
        np.save(file, data, allow_pickle=False)
        return f"{name}.npy", file.getvalue()
    return f"{name}.json", json_text(data).encode()


def _file_name(name: str) -> str:
    """The last part of a path, without what no name of a document has."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2].replace("\0", "")
    return last if last not in ("", ".", "..") else "document"
