"""The faults that `mutants` puts into the checks: file, what stands there, what stands there instead."""

from __future__ import annotations

Fault = tuple[str, str, str]

FAULTS: tuple[Fault, ...] = (
    # the footer
    ("format/validation/validate.py", "if head != footer.MAGIC:", "if False:"),
    ("format/parquet/footer.py", "if magic == b'PARE':", "if magic == b'PARX':"),
    ("format/parquet/footer.py", "if length > min(size - len(MAGIC), MAX_FOOTER):", "if False:"),
    ("format/validation/structure.py", "if not footer.fits(struct, footer.SHAPE):", "if False:"),
    (
        "format/validation/structure.py",
        "return (struct, [problem('footer-slack', 'footer', '0 bytes', slack)] if slack else [])",
        "return (struct, [problem('footer-slack', 'footer', '0 bytes', slack)] if slack > 9 else [])",
    ),
    ("format/validation/structure.py", "if count > 1:", "if count > 2:"),
    (
        "format/validation/structure.py",
        "if sum(rows) != get(struct, FileMetaData.ROWS) or any((n < 0 for n in rows)):",
        "if any((n < 0 for n in rows)):",
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
    ("format/validation/structure.py", "        if first < end:\n", "        if False:\n"),
    (
        "format/validation/structure.py",
        "if [_path(meta) for meta in metas] != paths:",
        "if len(metas) != len(paths):",
    ),
    (
        "format/validation/structure.py",
        "if values < rows or (leaf.max_repetition_level == 0 and values != rows):",
        "if values < rows or False:",
    ),
    (
        "format/parquet/footer.py",
        "start = dictionary if 0 < dictionary < data else data",
        "start = data",
    ),
    ("format/parquet/footer.py", "if not last < field <= _MAX_FIELD:", "if not last < field:"),
    (
        "format/parquet/footer.py",
        "if not last < field <= _MAX_FIELD:",
        "if field == last or field > _MAX_FIELD:",
    ),
    ("format/parquet/footer.py", "if value >> _BITS[kind]:", "if False:"),
    ("format/parquet/footer.py", "if wanted and wanted != kind and count:", "if False:"),
    ("format/parquet/outline.py", "elif field in ELSEWHERE:", "elif False:"),
    (
        "format/parquet/outline.py",
        "ELSEWHERE = (Chunk.FILE, Chunk.CRYPTO, Chunk.ENCRYPTED)",
        "ELSEWHERE = (Chunk.FILE, Chunk.CRYPTO)",
    ),
    (
        "format/parquet/outline.py",
        "if (SchemaElement.TYPE in element) == (children > 0):",
        "if False:",
    ),
    # the seal
    (
        "format/parquet/digests.py",
        "return (told, digits == stated and digits == _seal_digits(tail, at))",
        "return (told, digits == _seal_digits(tail, at))",
    ),
    ("format/parquet/digests.py", "if stated is None:", "if False:"),
    (
        "format/parquet/digests.py",
        "return (told, digits == stated and digits == _seal_digits(tail, at))",
        "return (told, digits == stated and True)",
    ),
    (
        "format/parquet/digests.py",
        "return [raw[i:i + 32] for i in range(0, len(raw), 32)] if len(raw) % 32 == 0 and raw else None",
        "return [raw[i:i + 32] for i in range(0, len(raw), 32)] if raw else None",
    ),
    ("format/parquet/digests.py", "state.update(block)", "state.update(block[:64])"),
    ("format/parquet/digests.py", "starts = [0, *ends]", "starts = [4, *ends]"),
    ("format/validation/validate.py", "if integrity.SEAL not in parts.keys:", "if False:"),
    ("format/validation/validate.py", "elif not true:", "elif False:"),
    ("format/validation/validate.py", "elif len(digests) != len(segments):", "elif False:"),
    (
        "format/validation/validate.py",
        "if not inside or integrity.digest(parts.file, start, end) != digest:",
        "if not inside:",
    ),
    (
        "format/validation/validate.py",
        "return value is not None and (not integrity.read_seal(*_seal(parts))[1]) and (_creator(parts) != _generator(value))",
        "return value is not None and (not integrity.read_seal(*_seal(parts))[1])",
    ),
    (
        "format/validation/validate.py",
        "return value is not None and (not integrity.read_seal(*_seal(parts))[1]) and (_creator(parts) != _generator(value))",
        "return False and (not integrity.read_seal(*_seal(parts))[1]) and (_creator(parts) != _generator(value))",
    ),
    (
        "format/validation/validate.py",
        "derived = content_uuid(digests[:-1], [core.sha256 for core in meta.cores.values()])",
        "derived = content_uuid(digests, [core.sha256 for core in meta.cores.values()])",
    ),
    ("format/validation/validate.py", "if derived != meta.uuid:", "if False:"),
    # metadata
    ("format/validation/validate.py", "if KEY not in keys:", "if not keys:"),
    (
        "format/validation/validate.py",
        "elif (schema.metadata or {}).get(KEY) != parts.keys[KEY]:",
        "elif False:",
    ),
    ("format/validation/validate.py", "if _ARROW not in parts.keys:", "if False:"),
    (
        "format/validation/validate.py",
        "if version.split('.')[0] != VERSION.split('.')[0]:",
        "if version.split('.')[-1] != VERSION.split('.')[0]:",
    ),
    (
        "format/validation/validate.py",
        "if name not in Metadata.__dataclass_fields__:",
        "if False:",
    ),
    ("format/spec/metadata.py", "if len(value) != len(pairs):", "if False:"),
    (
        "format/validation/references.py",
        "if primary is None or primary.role != 'feature':",
        "if primary is None:",
    ),
    (
        "format/validation/references.py",
        "if column.core is not None and column.core not in metadata.cores:",
        "if False:",
    ),
    (
        "format/validation/references.py",
        "if metadata.splits and metadata.record.split is None:",
        "if False:",
    ),
    (
        "format/validation/references.py",
        "if list(metadata.columns) == schema.names:",
        "if set(metadata.columns) == set(schema.names):",
    ),
    ("format/validation/references.py", "if column.dtype != element_type(field):", "if False:"),
    (
        "format/validation/references.py",
        "if column.role != role if role else column.role in (*_RECORD, 'target'):",
        "if False if role else column.role in (*_RECORD, 'target'):",
    ),
    (
        "format/validation/references.py",
        "if column.role != role if role else column.role in (*_RECORD, 'target'):",
        "if column.role != role if role else False:",
    ),
    (
        "format/validation/references.py",
        "return bool(not field.nullable and (not element.nullable) and (element.name == 'element') and (field.type.list_size > 0))",
        "return bool(not element.nullable and element.name == 'element' and (field.type.list_size > 0))",
    ),
    (
        "format/validation/references.py",
        "return bool(not field.nullable and (not element.nullable) and (element.name == 'element') and (field.type.list_size > 0))",
        "return bool(not field.nullable and element.name == 'element' and (field.type.list_size > 0))",
    ),
    (
        "format/validation/references.py",
        "return bool(not field.nullable and (not element.nullable) and (element.name == 'element') and (field.type.list_size > 0))",
        "return bool(not field.nullable and (not element.nullable) and (field.type.list_size > 0))",
    ),
    (
        "format/validation/references.py",
        "return len(column.shape) <= _MAX_AXES and is_vector(field) and (prod(column.shape) == field.type.list_size)",
        "return len(column.shape) <= _MAX_AXES and is_vector(field)",
    ),
    ("format/validation/references.py", "return column.role != 'feature'", "return True"),
    (
        "format/validation/references.py",
        "return lambda field: bool(field.type == kind and (not field.nullable))",
        "return lambda field: bool(field.type == kind)",
    ),
    (
        "format/validation/references.py",
        "if twice or (not target.classes and target.kind != 'regression'):",
        "if not target.classes and target.kind != 'regression':",
    ),
    (
        "format/validation/references.py",
        "if name in twice or name in ('', '.', '..') or any((c in name for c in '/\\\\\\x00')):",
        "if name in twice or name in ('.', '..') or any((c in name for c in '/\\\\\\x00')):",
    ),
    (
        "format/validation/attachments.py",
        "sound = {where: a for where, a in placed.items() if gap <= a.offset <= a.offset + a.length <= start}",
        "sound = {where: a for where, a in placed.items() if a.offset + a.length <= start}",
    ),
    ("format/validation/attachments.py", "if found != attachment.sha256:", "if False:"),
    ("format/validation/attachments.py", "elif len(lines) != attachment.rows:", "elif False:"),
    (
        "format/validation/attachments.py",
        "    return isinstance(value, dict) and all((isinstance(value.get(key), str) for key in ('id', 'rule', 'reason')))",
        "    return isinstance(value, dict) and all((isinstance(key, str) for key in ('id', 'rule', 'reason')))",
    ),
    # layout
    (
        "format/parquet/proof.py",
        "if get(chunk, ColumnMeta.CODEC) != UNCOMPRESSED or ColumnMeta.DICTIONARY_PAGE in chunk or count % column.items:",
        "if ColumnMeta.DICTIONARY_PAGE in chunk or count % column.items:",
    ),
    (
        "format/parquet/proof.py",
        "if get(chunk, ColumnMeta.CODEC) != UNCOMPRESSED or ColumnMeta.DICTIONARY_PAGE in chunk or count % column.items:",
        "if get(chunk, ColumnMeta.CODEC) != UNCOMPRESSED or count % column.items:",
    ),
    ("format/parquet/proof.py", "if get(chunk, ColumnMeta.TYPE) != physical:", "if False:"),
    ("format/parquet/proof.py", "if get(chunk, ColumnMeta.BYTES) != stored:", "if False:"),
    (
        "format/parquet/proof.py",
        "plain = get(header, Page.TYPE) == DATA_PAGE and get(page, Page.ENCODING) == PLAIN",
        "plain = get(header, Page.TYPE) == DATA_PAGE",
    ),
    (
        "format/parquet/proof.py",
        "    plain &= get(page, Page.DEFINITION) == get(page, Page.REPETITION) == RLE\n",
        "",
    ),
    (
        "format/parquet/proof.py",
        "if not (plain and sizes and (get(page, Page.VALUES) == count)):",
        "if not (plain and sizes):",
    ),
    (
        "format/parquet/proof.py",
        "if not (plain and sizes and (get(page, Page.VALUES) == count)):",
        "if not (plain and get(page, Page.VALUES) == count):",
    ),
    (
        "format/parquet/proof.py",
        "if at + count * column.stored.itemsize != stored:",
        "if at + count * column.stored.itemsize > stored:",
    ),
    ("format/validation/validate.py", "if region.offset % unit:", "if region.offset % 4:"),
    ("format/validation/validate.py", "if region.length % unit:", "if region.length % 4:"),
    (
        "format/validation/validate.py",
        "unit = min(ALIGNMENTS) if several else SMALL_ALIGNMENT",
        "unit = SMALL_ALIGNMENT",
    ),
    ("format/validation/validate.py", "if column is None:", "if False:"),
    # data
    (
        "format/validation/contents.py",
        "if before[footer.decode_page(before)[1]:] != ours and (not _same_decoded(contents, column, number)):",
        "if before[footer.decode_page(before)[1]:] != ours:",
    ),
    (
        "format/validation/contents.py",
        "if before[footer.decode_page(before)[1]:] != ours and (not _same_decoded(contents, column, number)):",
        "if False and (not _same_decoded(contents, column, number)):",
    ),
    ("format/validation/contents.py", "if not finite(group):", "if False:"),
    ("format/validation/contents.py", "if runs > records:", "if runs < records:"),
    (
        "format/validation/contents.py",
        "for rule, wrong in (('id-repeated', clip & (step == 0)), ('frame-order', clip & (step < 0))):",
        "for rule, wrong in (('id-repeated', clip & (step != step)), ('frame-order', clip & (step < 0))):",
    ),
    (
        "format/validation/contents.py",
        "for rule, wrong in (('id-repeated', clip & (step == 0)), ('frame-order', clip & (step < 0))):",
        "for rule, wrong in (('id-repeated', clip & (step == 0)), ('frame-order', clip & (step > 9))):",
    ),
    (
        "format/validation/contents.py",
        "clip = (np.diff(ids) == 0) & (np.diff(view) == 0)",
        "clip = np.diff(ids) == 0",
    ),
    ("format/validation/contents.py", "if len(widths) > 1:", "if len(widths) > 2:"),
    (
        "format/validation/contents.py",
        "for name in (record.id, record.group):",
        "for name in (record.id,):",
    ),
    (
        "format/validation/contents.py",
        "return {name: Split(rows=len(r), records=len(np.unique(r))) for name, r in rows.items() if name is not None}",
        "return {name: Split(rows=len(r), records=len(r)) for name, r in rows.items() if name is not None}",
    ),
    (
        "format/validation/contents.py",
        "if found.get(name) != metadata.splits.get(name):",
        "if name not in metadata.splits:",
    ),
    (
        "format/validation/contents.py",
        "wrong, expected = ((numbers < 0) | (numbers >= len(target.classes)), f'0 to {len(target.classes) - 1}')",
        "wrong, expected = (numbers >= len(target.classes), f'0 to {len(target.classes) - 1}')",
    ),
    (
        "format/validation/contents.py",
        "wrong, expected = (~np.isfinite(numbers), 'finite numbers, null where unknown')",
        "wrong, expected = (np.isinf(numbers), 'finite numbers, null where unknown')",
    ),
    (
        "format/parquet/pages.py",
        "if stored < 0 or start > end or (not 0 <= claimed <= max(MAX_PAGE, stored)):",
        "if stored < 0 or start > end or claimed < 0:",
    ),
    ("format/parquet/pages.py", "if values != get(chunk, ColumnMeta.VALUES):", "if False:"),
    ("format/parquet/pages.py", "column.validate(full=True)", "column.validate()"),
)
