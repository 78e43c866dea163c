"""Templates of `training` and `performance` (row D11): each field of the legacy has a place."""

from __future__ import annotations

from typing import Any

import pytest

from dof_arrow.format.spec import json_model, templates
from dof_arrow.format.spec.json_model import to_json
from dof_arrow.format.spec.metadata import Metadata, from_json

# The fields of the legacy template, as `ModelInfo.from_template` of dofpy 2.0.1 had them, and where
# they are now. Its model and training parts are one here; its flips and crops belong to `cores` and
# `augmentation`, or, in words, here.
LEGACY = {
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
PERFORMANCE: dict[str, Any] = {
    "model": "head-7",
    "f1": 0.4,
    "accuracy": 0.83,
    "baseline": 0.61,
    "roc": {
        "auc": 0.81,
        "interval": [0.78, 0.84],
        "false_positive_rate": [0, 0.5, 1],
        "true_positive_rate": [0, 0.75, 1],
        "thresholds": [1, 0.5, 0],
        "document": "roc.png",
    },
    "confusion_matrix": {
        "classes": ["clear", "pneumonia"],
        "counts": [[61, 9], [8, 22]],
        "threshold": 0.5512,
    },
}


def _names(section: str, part: str) -> set[str]:
    empty = templates.template(section)
    return set(empty[part] if part else empty)


def test_every_legacy_field_has_a_place_d11() -> None:
    assert set(LEGACY["model"].values()) | set(LEGACY["training"].values()) <= _names(
        "training", ""
    )
    assert set(LEGACY["data_processing"].values()) <= _names("training", "data_processing")
    assert set(LEGACY["performance"].values()) <= _names("performance", "")
    assert sum(map(len, LEGACY.values())) == 47


@pytest.mark.parametrize("section", templates.SECTIONS)
def test_an_untouched_template_says_nothing_d11(section: str) -> None:
    empty = templates.template(section)
    assert templates.filled(empty) == {}
    assert not list(json_model.problems(empty, templates.SECTIONS[section]))
    assert templates.remarks(section, empty) == []


@pytest.mark.parametrize("section", templates.SECTIONS)
def test_the_guide_names_every_field_d11(section: str) -> None:
    empty, guide = templates.template(section), templates.guide(section)
    inner = [
        f"{name}.{field}"
        for name, value in empty.items()
        if isinstance(value, dict)
        for field in value
    ]
    assert sorted(name for name, _, _ in guide) == sorted([*empty, *inner])
    assert all(kind and meaning for _, kind, meaning in guide)


def test_a_filled_template_keeps_what_was_filled_in_d11() -> None:
    given = {**templates.template("performance"), **PERFORMANCE}
    assert templates.filled(given) == PERFORMANCE
    assert templates.remarks("performance", templates.filled(given)) == []


def test_zero_and_false_are_no_gaps() -> None:
    assert templates.filled({"test_loss": 0.0, "x": False, "y": [], "z": {"a": None}}) == {
        "test_loss": 0.0,
        "x": False,
    }


def test_the_sections_are_free() -> None:
    value = {"my own": [1, {"a": None}], "f1": "high"}
    minimal = {
        "version": "1.0",
        "uuid": "0" * 8 + "-0000-8000-8000-" + "0" * 12,
        "primary_column": "x",
        "columns": {},
    }
    assert to_json(from_json({**minimal, "performance": value}, Metadata).performance) == value
    assert templates.remarks("performance", value) == [
        'performance.f1: expected number, found "high"'
    ]


def test_names_nearly_right_are_told() -> None:
    said = templates.remarks("training", {"learning rate": 1e-4})
    assert said == ["training.learning rate: did you mean learning_rate?"]
