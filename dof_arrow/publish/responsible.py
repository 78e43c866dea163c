"""What a Croissant description says of people, risks and origin: its RAI terms, and those of PROV.

Only what the file itself says is told, and what is true of all features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dof_arrow.dataset.dataset import Dataset
from dof_arrow.format.spec.json_model import Json, to_json
from dof_arrow.format.spec.metadata import ClaimedCore, CoreMetadata, Metadata
from dof_arrow.publish.audit_line import NOT_AUDITED, audit_line, measure_text
from dof_arrow.publish.column_words import NOT_VERIFIED
from dof_arrow.publish.spdx import is_url

RISK = (
    "Features are personal data where the pictures are: attributes of people, links between their "
    "pictures and, in part, the pictures themselves can be inferred from them."
)
_USES = ("intended_use", "indications_for_use")
_LIMITS = "device_limitations"


def responsible(ds: Dataset) -> dict[str, Json]:
    """The terms of the RAI vocabulary that fit."""
    about = ds.metadata
    training = about.training
    found: dict[str, Json] = {
        "rai:dataCollection": " ".join(_collection(about)),
        "rai:dataCollectionMissingData": _missing(about),
        "rai:dataPreprocessingProtocol": list(_preprocessing(about)),
        "rai:dataUseCases": _texts([training.get(name) for name in _USES]),
        "rai:dataLimitations": [RISK, _audited(about), *_texts([training.get(_LIMITS)])],
        "rai:personalSensitiveInformation": list(_personal(about)),
    }
    return {name: value for name, value in found.items() if value}


def provenance(about: Metadata) -> dict[str, Json]:
    """Where the dataset comes from, in the terms of PROV-O."""
    found: dict[str, Json] = {}
    said = about.provenance
    parents: list[Json] = []
    if said is not None:
        parents += [{"@id": f"urn:uuid:{parent.uuid}"} for parent in said.parents]
        cores = [_core(core) for core in about.cores.values()]
        cores += [_claimed(core) for core in about.claimed_cores.values()]
        activity = {"@type": "prov:Activity", "prov:label": said.generator, "prov:used": cores}
        found["prov:wasGeneratedBy"] = activity
    if about.info.source and is_url(about.info.source):
        parents.append({"@id": about.info.source})
    if parents:
        found["prov:wasDerivedFrom"] = parents
    return found


def _core(core: CoreMetadata) -> Json:
    return _entity(core, f"core {core.name}", core.sha256)


def _claimed(core: ClaimedCore) -> Json:
    return _entity(core, f"core {core.name}: {NOT_VERIFIED}", None)


def _entity(core: CoreMetadata | ClaimedCore, label: str, sha256: str | None) -> Json:
    told: dict[str, Json] = {
        "@type": "prov:Entity",
        "prov:label": label,
        "sha256": sha256,
        "license": core.license,
        "isBasedOn": core.source,
    }
    return {name: value for name, value in told.items() if value}


def _collection(about: Metadata) -> Iterator[str]:
    if about.info.source:
        yield f"Source of the raw data: {about.info.source}."
    if about.info.source_license:
        yield f"Its licence: {about.info.source_license}."
    said = about.provenance
    if said is not None and said.inputs is not None:
        yield f"{said.inputs} inputs were run once through a frozen model."


def _missing(about: Metadata) -> str:
    said = about.provenance
    if said is None or not said.failed:
        return ""
    return f"{said.failed} of {said.inputs} inputs could not be read and have no row."


def _preprocessing(about: Metadata) -> Iterator[str]:
    for core in about.cores.values():
        cut = f", cut at {core.cut}" if core.cut else ""
        steps = to_json(core.preprocessing)
        told = ", ".join(f"{name} {value}" for name, value in steps.items())
        yield f"Core {core.name}, SHA-256 {core.sha256}{cut}: {told}."
    for claimed in about.claimed_cores.values():
        yield f"Core {claimed.name}: {NOT_VERIFIED}."
    if about.augmentation:
        yield "Views of each picture were augmented; the metadata of the files say how."


def _audited(about: Metadata) -> str:
    line = audit_line(about)
    return "It is not known how much: not audited." if line == NOT_AUDITED else f"Audit: {line}."


def _personal(about: Metadata) -> Iterator[str]:
    privacy = about.privacy
    if privacy is None:
        yield "The file does not say whether its ids are names or pseudonyms."
        return
    if privacy.ids == "pseudonym":
        yield "Ids are keyed pseudonyms; whoever has the key can tell whose they are."
    else:
        yield "Ids are the inputs' own names."
    if about.record.group is not None:
        yield f"The column {about.record.group} tells which rows belong together."
    for measure in privacy.measures:
        yield f"A measure was applied: {measure_text(measure)}."


def _texts(values: Sequence[Json]) -> list[str]:
    return [value for value in values if isinstance(value, str) and value]
