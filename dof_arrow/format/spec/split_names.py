"""The names of splits: the many spellings in use, and the three names that everything here uses."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

TRAIN, VALID, TEST = "train", "valid", "test"

SPELLINGS = {
    "train": TRAIN,
    "training": TRAIN,
    "trn": TRAIN,
    "val": VALID,
    "valid": VALID,
    "validate": VALID,
    "validation": VALID,
    "dev": VALID,
    "devel": VALID,
    "development": VALID,
    "test": TEST,
    "testing": TEST,
    "tst": TEST,
}


def standard(name: str) -> str | None:
    """`train`, `valid` or `test` for each of their spellings, None for any other name.

    >>> standard("Training"), standard(" DEV "), standard("holdout")
    ('train', 'valid', None)
    """
    return SPELLINGS.get(name.strip().casefold())


def standard_or_own(name: str) -> str:
    """The standard name of a split, or its own name where there is none.

    >>> standard_or_own("TEST"), standard_or_own("holdout")
    ('test', 'holdout')
    """
    return standard(name) or name


def standardised(names: Any) -> Any:
    """An Arrow array of names, each in its standard spelling; others and nulls stay.

    >>> standardised(pa.array(["Train", None, "site A"])).to_pylist()
    ['train', None, 'site A']
    """
    coded = names.dictionary_encode()
    spelled = [name and standard_or_own(name) for name in coded.dictionary.to_pylist()]
    return pa.array(spelled, names.type).take(coded.indices)
