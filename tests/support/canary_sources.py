"""A model, tables and containers of pictures with a canary in every place that is no number."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx.external_data_helper import set_external_data

from dof_arrow.cores.graph.external_data import within
from dof_arrow.cores.graph.names import all_graphs, tensor_names
from tests.support import models
from tests.support.canaries import Canaries
from tests.support.canary_pictures import array, png

CUT = "feat"  # the tensor at which the model is cut: the owner's choice, which is noted
_NOTED = (
    "TensorProto",
    "NodeProto",
    "AttributeProto",
    "ValueInfoProto",
    "GraphProto",
    "ModelProto",
)
_OWN_PROPERTY = ("onnx.TensorProto", "onnx.NodeProto", "onnx.ValueInfoProto", "onnx.GraphProto")

# The model


def model(canaries: Canaries, folder: Path, name: str) -> Path:
    """A model in `folder`, its weights in a file beside it; everything in it is called by a canary, and bears notes."""
    made = models.gemm()
    _rename(canaries, made)
    for message in _messages(made):
        kind = message.DESCRIPTOR.full_name
        message.doc_string = canaries.plant(f"doc_string of {kind}")
        if kind in _OWN_PROPERTY:
            _add_property(canaries, message, kind)
    for _ in range(3):
        _add_property(canaries, made, "the model")
    made.producer_name = canaries.plant("producer_name")
    made.producer_version = canaries.plant("producer_version")
    made.domain = canaries.plant("domain of the model")
    for value in made.graph.input:
        value.type.denotation = canaries.plant("denotation of a type")
        value.type.tensor_type.shape.dim[0].denotation = canaries.plant("denotation of an axis")
    note = made.graph.quantization_annotation.add(tensor_name=canaries.plant("annotation"))
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=canaries.plant("its scale"))
    path = folder / f"{name}.onnx"
    _put_weights_beside(canaries, made, folder)
    unknown = canaries.plant("field that ONNX does not know").encode()
    path.write_bytes(made.SerializeToString() + _field(1999, unknown))
    return path


def _rename(canaries: Canaries, made: onnx.ModelProto) -> None:
    """Give graphs, nodes, tensors and free axes other names, but for the tensor of the cut."""
    names = sorted(tensor_names(made) - {CUT})
    new = {CUT: CUT, **{old: canaries.name(f"tensor {old}") for old in names}}
    for graph in all_graphs(made.graph):
        graph.name = canaries.name("graph")
        for named in (*graph.input, *graph.output, *graph.initializer):
            named.name = new[named.name]
        for node in graph.node:
            node.name = canaries.name("node")
            node.input[:] = [new[name] for name in node.input]
            node.output[:] = [new[name] for name in node.output]
    axis = canaries.plant("name of a free axis")
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = axis


def _messages(made: onnx.ModelProto) -> list[Any]:
    return [message for kind in _NOTED for message in within(made, f"onnx.{kind}")]


def _add_property(canaries: Canaries, message: Any, where: str) -> None:
    key, value = canaries.plant(f"key of {where}"), canaries.plant(f"property of {where}")
    message.metadata_props.add(key=key, value=value)


def _put_weights_beside(canaries: Canaries, made: onnx.ModelProto, folder: Path) -> None:
    weights = max(made.graph.initializer, key=lambda each: len(each.raw_data))
    location = canaries.name("file of weights")
    (folder / location).write_bytes(weights.raw_data)
    set_external_data(weights, location)
    weights.ClearField("raw_data")


def _field(number: int, data: bytes) -> bytes:
    """A field of protobuf by its number, as another version of ONNX may have it."""
    key = number << 3 | 2
    return bytes([key & 0x7F | 0x80, key >> 7, len(data)]) + data


# Tables

Rows = Sequence[Mapping[str, Any]]


def csv_table(path: Path, rows: Rows) -> Path:
    lines = [",".join(rows[0])]
    lines += [",".join(str(cell) for cell in row.values()) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def parquet_table(canaries: Canaries, path: Path, rows: Rows) -> Path:
    """A table whose schema and columns bear notes too."""
    table = pa.Table.from_pylist([dict(row) for row in rows])
    fields = []
    for field in table.schema:
        note = canaries.plant(f"note of a table's column {field.name}")
        fields.append(field.with_metadata({"comment": note}))
    about = {
        canaries.plant("key of a table's schema"): "x",
        "pandas": json.dumps({"creator": canaries.plant("pandas' note of a table")}),
    }
    pq.write_table(table.cast(pa.schema(fields, about)), path)
    return path


def workbook(canaries: Canaries, path: Path, rows: Rows) -> str:
    """A sheet with notes, beside another one, in a workbook that says who made it; gives its name."""
    import openpyxl
    from openpyxl.comments import Comment

    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = canaries.name("sheet")
    for row in (list(rows[0]), *(list(row.values()) for row in rows)):
        sheet.append(row)
    sheet["A1"].comment = Comment(canaries.plant("comment of a cell"), canaries.plant("its author"))
    book.create_sheet(canaries.name("another sheet")).append([canaries.plant("its cell")])
    for name in ("creator", "title", "subject", "description", "keywords", "category"):
        setattr(book.properties, name, canaries.plant(f"workbook's {name}"))
    book.save(path)
    return str(sheet.title)


# Containers


def tar(canaries: Canaries, path: Path, members: Mapping[str, bytes]) -> Path:
    """A tar archive with PAX headers and owners."""
    about = {"comment": canaries.plant("tar's own comment")}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers=about) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.uname = canaries.plant("owner in a tar")
            member.gname = canaries.plant("group in a tar")
            member.pax_headers = {
                "comment": canaries.plant("PAX comment"),
                "SCHILY.xattr.user.note": canaries.plant("PAX attribute"),
            }
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo(canaries.name("link in a tar"))
        link.type, link.linkname = tarfile.SYMTYPE, canaries.plant("target of a link in a tar")
        archive.addfile(link)
    return path


def zipped(canaries: Canaries, path: Path, members: Mapping[str, bytes]) -> Path:
    """A zip archive with comments, extra fields, and a member that is no picture."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = canaries.plant("comment of a zip").encode()
        for name, data in members.items():
            member = zipfile.ZipInfo(name)
            member.comment = canaries.plant("comment of a member").encode()
            text = canaries.plant("extra field of a member").encode()
            member.extra = b"\xca\xfe" + len(text).to_bytes(2, "little") + text
            archive.writestr(member, data)
        archive.writestr("readme.txt", canaries.plant("text in a zip"))
    return path


def arrays(canaries: Canaries, path: Path, count: int) -> Path:
    """An .npz file with pictures, and other arrays."""
    texts = np.array([canaries.plant("text in an array") for _ in range(count)])
    others = {canaries.plant("name of an array"): texts}
    np.savez(path, allow_pickle=True, images=array(0, count), **others)
    return path


def parquet_pictures(canaries: Canaries, path: Path, count: int) -> Path:
    """Pictures in a Parquet file, as Hugging Face `datasets` writes them, and columns that nobody names."""
    pictures = []
    for number in range(count):
        name = canaries.name("path of a picture in a table")
        pictures.append({"bytes": png(canaries, number), "path": name})
    others = [canaries.plant("cell beside pictures") for _ in range(count)]
    table = pa.table({"image": pictures, canaries.plant("column beside pictures"): others})
    table = table.replace_schema_metadata({"huggingface": canaries.plant("schema of pictures")})
    pq.write_table(table, path)
    return path
