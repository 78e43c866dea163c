"""The faults that `mutants` puts into the checks: file, what stands there, what stands there instead."""

from __future__ import annotations

Fault = tuple[str, str, str]

FAULTS: tuple[Fault, ...] = (
    # what is said of values
    ("format/parquet/statistics.py", "if np.isnan(smallest) or np.isnan(largest):", "if False:"),
    (
        "format/parquet/statistics.py",
        "if rows and nulls is not None and (nulls != present.nulls):",
        "if False:",
    ),
    (
        "format/validation/structure.py",
        "claimed = [RowGroup.SORTING] if RowGroup.SORTING in group else []",
        "claimed = []",
    ),
    # the footer
    ("format/validation/validate.py", "if head != footer.MAGIC:", "if False:"),
    ("format/parquet/footer.py", "if magic == _ENCRYPTED:", "if magic == b'PARX':"),
    ("format/parquet/footer.py", "if length > min(size - len(MAGIC), MAX_FOOTER):", "if False:"),
    ("format/validation/structure.py", "if not footer.fits(struct, footer.SHAPE):", "if False:"),
    ("format/validation/structure.py", "if slack == 0:", "if slack <= 9:"),
    ("format/validation/structure.py", "if count > 1:", "if count > 2:"),
    (
        "format/validation/structure.py",
        "if total != stated or min(rows, default=0) < 0:",
        "if min(rows, default=0) < 0:",
    ),
    (
        "format/validation/structure.py",
        "if len(groups) > MAX_GROUPS:",
        "if len(groups) > MAX_GROUPS + 1:",
    ),
    (
        "format/validation/structure.py",
        "if count > MAX_GROUP_ROWS:",
        "if count > MAX_GROUP_ROWS + 1:",
    ),
    (
        "format/validation/structure.py",
        "if not len(footer.MAGIC) <= first <= end <= start:",
        "if not len(footer.MAGIC) <= first <= end:",
    ),
    ("format/validation/spans.py", "if after.start < before.end:", "if False:"),
    ("format/validation/structure.py", "if found != paths:", "if len(found) != len(paths):"),
    (
        "format/validation/structure.py",
        "if values < rows or (values != rows and (not is_list)):",
        "if values < rows:",
    ),
    (
        "format/parquet/footer.py",
        "start = dictionary if 0 < dictionary < data else data",
        "start = data",
    ),
    ("format/parquet/compact.py", "if not last < field <= _MAX_FIELD:", "if not last < field:"),
    (
        "format/parquet/compact.py",
        "if not last < field <= _MAX_FIELD:",
        "if field == last or field > _MAX_FIELD:",
    ),
    ("format/parquet/compact.py", "if value >> _BITS[kind]:", "if False:"),
    ("format/parquet/compact.py", "if wanted and wanted != kind and count:", "if False:"),
    ("format/parquet/footer_walk.py", "elif number in ELSEWHERE:", "elif False:"),
    (
        "format/parquet/footer_walk.py",
        "ELSEWHERE = (Chunk.FILE, Chunk.CRYPTO, Chunk.ENCRYPTED)",
        "ELSEWHERE = (Chunk.FILE, Chunk.CRYPTO)",
    ),
    (
        "format/parquet/schema_tree.py",
        "if (SchemaElement.TYPE in element) == (children > 0):",
        "if False:",
    ),
    # the seal
    (
        "format/parquet/digests.py",
        "return (told, digits == stated and digits == _true_seal(tail, at))",
        "return (told, digits == _true_seal(tail, at))",
    ),
    ("format/parquet/digests.py", "if stated is None:", "if False:"),
    (
        "format/parquet/digests.py",
        "return (told, digits == stated and digits == _true_seal(tail, at))",
        "return (told, digits == stated and True)",
    ),
    ("format/parquet/digests.py", "if not raw or len(raw) % _DIGEST_BYTES:", "if not raw:"),
    ("format/parquet/digests.py", "state.update(block)", "state.update(block[:64])"),
    ("format/parquet/digests.py", "starts = [0, *ends]", "starts = [4, *ends]"),
    ("format/validation/seal.py", "if integrity.SEAL not in parts.keys:", "if False:"),
    ("format/validation/seal.py", "elif not is_true:", "elif False:"),
    ("format/validation/seal.py", "elif len(digests) != len(segments):", "elif False:"),
    (
        "format/validation/seal.py",
        "if not inside or integrity.digest(parts.file, start, end) != digest:",
        "if not inside:",
    ),
    (
        "format/validation/seal.py",
        "return not is_true and creator(parts) != generator(value)",
        "return not is_true",
    ),
    (
        "format/validation/seal.py",
        "return not is_true and creator(parts) != generator(value)",
        "return False and creator(parts) != generator(value)",
    ),
    (
        "format/validation/seal.py",
        "derived = content_uuid(digests[:-1], cores)",
        "derived = content_uuid(digests, cores)",
    ),
    ("format/validation/seal.py", "if derived != metadata.uuid:", "if False:"),
    # metadata
    ("format/validation/validate.py", "if KEY not in parts.keys:", "if not parts.keys:"),
    ("format/validation/validate.py", "if copy.get(KEY) != parts.keys[KEY]:", "if False:"),
    ("format/validation/validate.py", "if _ARROW not in parts.keys:", "if False:"),
    (
        "format/validation/validate.py",
        "if _major(version) != _major(VERSION):",
        "if version.split('.')[-1] != _major(VERSION):",
    ),
    ("format/validation/validate.py", "if name not in Metadata.__dataclass_fields__:", "if False:"),
    ("format/spec/metadata.py", "if len(value) != len(pairs):", "if False:"),
    (
        "format/spec/references.py",
        "if primary is None or primary.role != 'feature':",
        "if primary is None:",
    ),
    (
        "format/spec/references.py",
        "if core is not None and core not in cores:",
        "if False:",
    ),
    (
        "format/spec/references.py",
        "if metadata.splits and metadata.record.split is None:",
        "if False:",
    ),
    (
        "format/spec/column_types.py",
        "if list(metadata.columns) == schema.names:",
        "if set(metadata.columns) == set(schema.names):",
    ),
    ("format/spec/column_types.py", "if column.dtype != dtype:", "if False:"),
    ("format/spec/column_types.py", "return column.role == role", "return True"),
    (
        "format/spec/column_types.py",
        "return column.role not in (*RECORD_ROLES, 'target')",
        "return True",
    ),
    (
        "format/spec/column_types.py",
        "required = not field.nullable and (not element.nullable)",
        "required = not element.nullable",
    ),
    (
        "format/spec/column_types.py",
        "required = not field.nullable and (not element.nullable)",
        "required = not field.nullable",
    ),
    (
        "format/spec/column_types.py",
        "if not required or element.name != 'element':",
        "if not required:",
    ),
    (
        "format/spec/column_types.py",
        "return bool(prod(column.shape) == field.type.list_size)",
        "return True",
    ),
    ("format/spec/column_types.py", "return column.role != 'feature'", "return True"),
    (
        "format/spec/column_types.py",
        "return bool(field.type == wanted and (not field.nullable))",
        "return bool(field.type == wanted)",
    ),
    (
        "format/spec/references.py",
        "if twice or (not target.classes and target.kind in ('category', 'multilabel')):",
        "if not target.classes and target.kind in ('category', 'multilabel'):",
    ),
    ("format/spec/references.py", "if name in ('', '.', '..'):", "if name in ('.', '..'):"),
    (
        "format/validation/attachments.py",
        "if first <= start <= end <= parts.start:",
        "if end <= parts.start:",
    ),
    ("format/validation/attachments.py", "if found != attachment.sha256:", "if False:"),
    ("format/validation/attachments.py", "if len(lines) != attachment.rows:", "if False:"),
    (
        "format/spec/file_rules.py",
        "fields = [value.get(name) for name in _ERROR_FIELDS]",
        "fields = list(_ERROR_FIELDS)",
    ),
    # layout
    (
        "format/parquet/proof.py",
        "encoded = get(chunk, ColumnMeta.CODEC) != UNCOMPRESSED or ColumnMeta.DICTIONARY_PAGE in chunk",
        "encoded = ColumnMeta.DICTIONARY_PAGE in chunk",
    ),
    (
        "format/parquet/proof.py",
        "encoded = get(chunk, ColumnMeta.CODEC) != UNCOMPRESSED or ColumnMeta.DICTIONARY_PAGE in chunk",
        "encoded = get(chunk, ColumnMeta.CODEC) != UNCOMPRESSED",
    ),
    ("format/parquet/proof.py", "if get(chunk, ColumnMeta.TYPE) != physical:", "if False:"),
    ("format/parquet/proof.py", "if get(chunk, ColumnMeta.BYTES) != stored:", "if False:"),
    (
        "format/parquet/proof.py",
        "return kinds == (DATA_PAGE, PLAIN) and levels == (RLE, RLE)",
        "return kinds[0] == DATA_PAGE and levels == (RLE, RLE)",
    ),
    (
        "format/parquet/proof.py",
        "return kinds == (DATA_PAGE, PLAIN) and levels == (RLE, RLE)",
        "return kinds == (DATA_PAGE, PLAIN)",
    ),
    (
        "format/parquet/proof.py",
        "has_all = get(page, Page.VALUES) == count",
        "has_all = True",
    ),
    (
        "format/parquet/proof.py",
        "fills_chunk = sizes == (stored - end, stored - end)",
        "fills_chunk = True",
    ),
    (
        "format/parquet/proof.py",
        "if at + count * self._column.stored.itemsize != stored:",
        "if at + count * self._column.stored.itemsize > stored:",
    ),
    ("format/validation/mapped.py", "if region.offset % unit:", "if region.offset % 4:"),
    ("format/validation/mapped.py", "if region.length % unit:", "if region.length % 4:"),
    (
        "format/validation/mapped.py",
        "unit = min(ALIGNMENTS) if name in paged else SMALL_ALIGNMENT",
        "unit = SMALL_ALIGNMENT",
    ),
    ("format/validation/named.py", "if largest >= len(group.names):", "if False:"),
    ("format/validation/named.py", "if group.names != wanted:", "if False:"),
    ("format/validation/named.py", "if spare.any():", "if False:"),
    ("format/parquet/names_proof.py", "if len(set(names)) != count:", "if False:"),
    (
        "format/parquet/names_proof.py",
        "if dtype is None or dtype != code_type(len(names)):",
        "if dtype is None:",
    ),
    ("format/validation/mapped.py", "if column is None:", "if False:"),
    # data
    (
        "format/validation/data.py",
        "if before[header_end:] != ours and (not _same_decoded(contents, column, number)):",
        "if before[header_end:] != ours:",
    ),
    (
        "format/validation/data.py",
        "if before[header_end:] != ours and (not _same_decoded(contents, column, number)):",
        "if False:",
    ),
    ("format/validation/data.py", "if not finite(group):", "if False:"),
    ("format/spec/records.py", "if runs > records:", "if runs < records:"),
    (
        "format/spec/records.py",
        "'id-repeated': same_clip & (step == 0)",
        "'id-repeated': same_clip & (step != step)",
    ),
    (
        "format/spec/records.py",
        "'frame-order': same_clip & (step < 0)",
        "'frame-order': same_clip & (step > 9)",
    ),
    (
        "format/spec/records.py",
        "same_clip = same_record & same_view",
        "same_clip = same_record",
    ),
    ("format/spec/records.py", "if len(widths) > 1:", "if len(widths) > 2:"),
    (
        "format/spec/records.py",
        "for name in (record.id, record.bag, record.group):",
        "for name in (record.id, record.bag):",
    ),
    (
        "format/spec/records.py",
        "sizes[name] = Split(rows=len(rows), records=len(records))",
        "sizes[name] = Split(rows=len(rows), records=len(rows))",
    ),
    ("format/spec/records.py", "if actual != stated:", "if stated is None:"),
    (
        "format/spec/target_values.py",
        "is_wrong = (numbers < 0) | (numbers >= count)",
        "is_wrong = numbers >= count",
    ),
    (
        "format/spec/target_values.py",
        "is_wrong = ~np.isfinite(numbers)",
        "is_wrong = np.isinf(numbers)",
    ),
    (
        "format/parquet/pages.py",
        "if not inside or not 0 <= claimed <= max(MAX_PAGE, stored):",
        "if not inside or claimed < 0:",
    ),
    ("format/parquet/pages.py", "if values != get(chunk, ColumnMeta.VALUES):", "if False:"),
    ("format/parquet/pages.py", "column.validate(full=True)", "column.validate()"),
)
