"""Errors of tables of buckets, each of them ours and Python's."""

from __future__ import annotations

from engram_transformers.errors import HistoryError, TableError


class NoBucketsError(TableError, LookupError):
    """A model has no trained rows that a table of buckets could replace.

    Attributes:
        model_name: The model's class.
        reason: What is missing.
    """

    def __init__(self, model_name: str, reason: str) -> None:
        super().__init__(
            f'{model_name} can have no table with addressing="bucket": {reason} Such a table'
            " replaces trained rows: load_engram(model, …) puts a trained bank on the model,"
            " EngramTrainer trains one. Tables with exact addresses (the default) need none."
        )
        self.model_name = model_name
        self.reason = reason


class BucketNumberError(TableError, IndexError):
    """A memory has no row of this number.

    Attributes:
        row: The number.
        rows: How many rows there are.
    """

    def __init__(self, row: int, rows: int) -> None:
        super().__init__(f"There is no row {row}: the memory has {rows}, from 0 to {rows - 1}.")
        self.row = row
        self.rows = rows


class BucketReadError(HistoryError):
    """Replaced rows can't be read in this way of running the model.

    Attributes:
        layer: The block whose rows are replaced.
    """

    def __init__(self, layer: int, how: str, advice: str) -> None:
        super().__init__(
            f'A table with addressing="bucket" replaces rows at decoder block {layer}, {how}.'
            f" {advice}"
        )
        self.layer = layer


class BucketExplanationError(TableError, NotImplementedError):
    """`explain` can't show which replaced rows were read.

    Attributes:
        owner: The table's owner.
    """

    def __init__(self, owner: str) -> None:
        super().__init__(
            f'The table of {owner!r} has addressing="bucket", and explain shows exact addresses'
            " only. Leave the table out, or compare the model's output with it and without."
        )
        self.owner = owner
