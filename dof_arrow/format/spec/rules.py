"""Every rule a DoF file can break: its stable id, its section, what it means (appendix A)."""

from __future__ import annotations

from dataclasses import dataclass

from dof_arrow.errors import FormatError, Problem


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: the section of SPEC that states it, and what a file that breaks it is like.

    Only `--deep` looks for a `deep` one.
    """

    section: str
    meaning: str
    deep: bool = False


RULES: dict[str, Rule] = {
    # the file
    "file-magic": Rule("2", "the file does not begin and end with PAR1"),
    "file-encrypted": Rule("2", "the footer is encrypted"),
    "footer-length": Rule("2", "the footer does not fit into the file or is too long"),
    "footer-thrift": Rule("2", "the footer is not a well-formed Parquet footer"),
    "footer-schema": Rule("2", "no Arrow schema can be made from the footer"),
    "footer-slack": Rule("7.2", "bytes are left between the footer and its length"),
    "footer-keys": Rule("7.2", "a key stands twice in the footer"),
    "schema-arrow": Rule("4", "the key `ARROW:schema` is missing"),
    "schema-copy": Rule("4", "the schema in `ARROW:schema` carries another `dof` than the footer"),
    # rows, groups and chunks
    "rows-count": Rule("6.1", "row counts of file, groups and chunks disagree"),
    "groups-count": Rule("6.1", "more row groups than a file may have"),
    "groups-rows": Rule("6.1", "a row group has more rows than it may have"),
    "chunk-columns": Rule(
        "6.1", "the chunks of a row group are not the columns of the schema, in order"
    ),
    "chunk-elsewhere": Rule(
        "2.3", "a column chunk is said to lie in another file, or to be encrypted"
    ),
    "chunk-bounds": Rule(
        "6.3", "a column chunk does not lie between the leading magic and the footer"
    ),
    "group-claims": Rule(
        "6.8", "a row group claims an order of rows, an index of pages or a Bloom filter"
    ),
    "chunk-overlap": Rule("6.3", "two column chunks overlap"),
    # metadata
    "metadata-absent": Rule("4", "the key `dof` is missing"),
    "metadata-json": Rule("4", "the key `dof` cannot be read as JSON within its bounds"),
    "metadata-type": Rule("4.1", "a field has a wrong type or value"),
    "metadata-missing": Rule("4.1", "a required field is missing"),
    "metadata-pattern": Rule("4.1", "a field has a wrong form"),
    "metadata-range": Rule("4.1", "a number is too small"),
    "metadata-version": Rule("9", "the file is of another major version of the specification"),
    "metadata-understand": Rule(
        "9", "the file asks for a field to be understood that this version does not know"
    ),
    "metadata-uuid": Rule("4.2", "the uuid does not derive from the content"),
    # metadata against schema, and within itself
    "columns-listed": Rule("4.3", "`columns` and the columns of the table differ"),
    "column-dtype": Rule("4.3", "a column's `dtype` is not its type"),
    "column-shape": Rule("4.3", "a column's `shape` does not give its width"),
    "column-role": Rule("4.3", "a column's `role` disagrees with `record` or `targets`"),
    "vector-type": Rule(
        "3", "a feature column is not a required fixed-size list of required floats named `element`"
    ),
    "record-type": Rule("3", "a column named by `record` has a wrong type"),
    "record-column": Rule("4.3", "`record` names a column that is not there"),
    "primary-column": Rule("4.3", "`primary_column` is no feature column"),
    "core-unknown": Rule("4.3", "a column names a core that is in none of the lists of cores"),
    "core-claimed": Rule("4.3", "a claimed core has the name of one in `cores`"),
    "target-column": Rule("4.3", "`targets` names a column that is not there"),
    "target-type": Rule("4.3", "a target column has a type that its kind does not allow"),
    "target-classes": Rule("4.3", "a target's classes are missing or stand twice"),
    "split-column": Rule("4.3", "`splits` is given, but `record` names no split column"),
    "document-name": Rule("5", "a document's name has folders, is empty or stands twice"),
    "attachment-bounds": Rule(
        "5", "an attachment lies not between the last chunk and the footer, or on another"
    ),
    # layout
    "layout-claim": Rule(
        "6.5", "a column that is said to be mapped does not keep to the mapped layout"
    ),
    "layout-alignment": Rule(
        "6.3", "values of a mapped column do not start at a multiple of the alignment"
    ),
    "layout-groups": Rule(
        "6.1", "a row group but the last does not fill a multiple of the alignment"
    ),
    "layout-levels": Rule(
        "6.2", "the levels of a mapped column do not say that every list is full", deep=True
    ),
    "names-dictionary": Rule(
        "6.7",
        "the dictionary of a mapped column of names is not its classes, or the splits, in order",
        deep=True,
    ),
    "names-code": Rule("6.7", "a code of a mapped column of names has no name", deep=True),
    "names-spare": Rule(
        "6.7", "the codes behind the last row of a mapped column of names are not 0", deep=True
    ),
    "page-bounds": Rule(
        "6.6", "a page claims what its chunk, or any file of this size, cannot hold", deep=True
    ),
    # data
    "data-unreadable": Rule("6.6", "a column cannot be decoded", deep=True),
    "statistics-false": Rule(
        "6.8", "the statistics of a row group are not true of its values", deep=True
    ),
    "feature-nonfinite": Rule("3", "a feature is NaN or infinite", deep=True),
    "id-repeated": Rule("3", "two rows have the same id, view and frame", deep=True),
    "id-scattered": Rule("3", "the rows of a record do not stand together", deep=True),
    "bag-scattered": Rule("3", "the rows of a bag do not stand together", deep=True),
    "bag-record": Rule("3", "the rows of a record are of several bags", deep=True),
    "record-value": Rule(
        "3", "a number of a column that `record` names is out of its range", deep=True
    ),
    "id-width": Rule("3", "pseudonyms differ in length", deep=True),
    "frame-order": Rule("3", "the frames of a clip are out of order", deep=True),
    "split-count": Rule(
        "4.3", "`splits` does not give the rows and records of each split", deep=True
    ),
    "target-value": Rule(
        "4.3", "a target's value is no class of it, or no finite number", deep=True
    ),
    "attachment-digest": Rule("5", "an attachment's bytes have another digest", deep=True),
    "errors-table": Rule(
        "5", "the errors table is not the JSON lines that its description says", deep=True
    ),
    # a directory
    "manifest-rows": Rule("8", "the manifest of a directory has row groups"),
    "part-repeated": Rule("8", "a part is listed twice"),
    "part-missing": Rule("8", "a part that the manifest lists is not there"),
    "part-changed": Rule(
        "8", "a part has another size, number of rows or seal than the manifest says"
    ),
    "part-columns": Rule("8", "a part has other columns than the manifest"),
    "part-metadata": Rule(
        "8", "a part has other cores, targets or descriptions of columns than the manifest"
    ),
    "directory-stray": Rule(
        "8", "the directory holds what is neither the manifest nor a part that it lists"
    ),
    # integrity
    "derived-copy": Rule("7.3", "another program rewrote this file: its metadata may be stale"),
    "seal-missing": Rule("7.2", "the key `dof.seal` is missing"),
    "seal-false": Rule("7.2", "the seal does not agree with the footer"),
    "digests-form": Rule("7.1", "the key `dof.digests` is missing or no base64 of SHA-256 digests"),
    "digests-count": Rule("7.1", "there is not one digest for each segment"),
    "digest-false": Rule("7.1", "a segment has another digest", deep=True),
}


def problem(rule: str, where: str, expected: object = "", found: object = "") -> Problem:
    """A problem with its rule's own words.

    >>> print(problem("file-magic", "footer", "PAR1", "PARE"))
    file-magic at footer: the file does not begin and end with PAR1: expected PAR1, found PARE
    """
    return Problem(
        rule=rule,
        where=where,
        message=RULES[rule].meaning,
        expected=str(expected),
        found=str(found),
    )


def broken(rule: str, where: str, expected: object = "", found: object = "") -> FormatError:
    """The error for a broken rule behind which nothing more can be read."""
    told = problem(rule, where, expected, found)
    return FormatError("this part of the file cannot be read", problems=[told])
