"""Errors of banks, each of them ours and Python's."""

from __future__ import annotations

from collections.abc import Sequence

from engram_transformers.errors import ConfigError, EngramError


class BankError(EngramError):
    """Base of every error that has to do with a bank."""


class BankConfigError(BankError, ConfigError):
    """A value of a bank's configuration is not allowed.

    Attributes:
        field: The name at fault.
        value: The value seen.
    """


class BankSizeError(BankConfigError):
    """A head has fewer rows than an order has heads.

    Attributes:
        heads: How many heads an order has.
    """

    def __init__(self, memory_size: int, heads: int, *, lowest: int | None = None) -> None:
        expected = f"at least the number of heads, {heads}"
        if lowest is not None:
            expected = f"at least {lowest}: each head needs as many rows as an order has heads"
            expected += f" ({heads})"
        expected += ": ask for more rows or for fewer heads"
        super().__init__("memory_size", memory_size, expected)
        self.heads = heads


class BankWidthError(BankConfigError):
    """A width can't be shared out evenly.

    Attributes:
        parts: Into how many equal parts.
    """

    def __init__(self, field: str, value: int, parts: int, what: str) -> None:
        lower = value - value % parts
        near = f"{lower} or {lower + parts}" if lower else str(parts)
        super().__init__(field, value, f"a multiple of the {parts} {what}, such as {near}")
        self.parts = parts


class BankLayerError(BankError, LookupError):
    """A layer has no bank.

    Attributes:
        layer: The layer asked for.
        layers: Those that have one.
    """

    def __init__(self, layer: object, layers: Sequence[int]) -> None:
        named = ", ".join(map(str, layers))
        super().__init__(f"Layer {layer!r} has no bank. Layers of this configuration: {named}.")
        self.layer = layer
        self.layers = tuple(layers)


class BankShapeError(BankError, ValueError):
    """A tensor given to a bank has a wrong shape.

    Attributes:
        name: The argument at fault.
        shape: The shape seen.
    """

    def __init__(self, name: str, shape: Sequence[int], expected: str) -> None:
        super().__init__(f"`{name}` has shape {tuple(shape)}, but must have {expected}.")
        self.name = name
        self.shape = tuple(shape)


class BankDtypeError(BankError, TypeError):
    """A tensor given to a bank has a wrong dtype.

    Attributes:
        name: The argument at fault.
        dtype: Its dtype, as text.
    """

    def __init__(self, name: str, dtype: str, expected: str) -> None:
        super().__init__(f"`{name}` is {dtype}, but must be {expected}.")
        self.name = name
        self.dtype = dtype


class CanonicalIdError(BankError, IndexError):
    """A canonical id is not in the vocabulary that a bank was made for.

    Attributes:
        name: The argument at fault.
        seen: The lowest or highest id seen.
        vocabulary: How many canonical ids there are.
    """

    def __init__(self, name: str, seen: int, vocabulary: int) -> None:
        super().__init__(
            f"`{name}` holds the id {seen}, but the bank's canonical ids are 0 to"
            f" {vocabulary - 1}: give ids as `numbered` counts them, not token ids."
        )
        self.name = name
        self.seen = seen
        self.vocabulary = vocabulary


class BankAddressError(BankError, IndexError):
    """An address is beyond the rows of its head.

    Attributes:
        head: Which head, counted over all orders.
        address: The address seen.
        rows: How many rows the head has.
    """

    def __init__(self, head: int, address: int, rows: int) -> None:
        super().__init__(
            f"Head {head} has rows 0 to {rows - 1}, but is asked for row {address}: give what"
            " `bank_addresses` returned with this layer's hash, without offsets."
        )
        self.head = head
        self.address = address
        self.rows = rows


class DenseGradientError(BankError, TypeError):
    """A table's gradient is not a sparse one of whole rows.

    Attributes:
        name: The table at fault.
        layout: The gradient's layout, as text.
    """

    def __init__(self, name: str, layout: str, size_bytes: int) -> None:
        super().__init__(
            f"The gradient of {name} is {layout} ({size_bytes} bytes), but must hold whole rows,"
            " torch.sparse_coo with one sparse dimension: make the table an"
            " `nn.Embedding(..., sparse=True)`, or set its attribute `sparse`."
        )
        self.name = name
        self.layout = layout


class RowGradientError(BankError, FloatingPointError):
    """The gradients of some rows are NaN or infinite.

    Attributes:
        name: The table at fault.
        rows: The first of them, at most eight, in ascending order.
        count: How many there are.
    """

    def __init__(self, name: str, rows: Sequence[int], count: int) -> None:
        named = ", ".join(map(str, rows)) + (", …" if count > len(rows) else "")
        super().__init__(
            f"The gradient of {name} is NaN or infinite in {count} rows ({named}). Nothing was"
            " changed: look at the loss of this batch, lower the learning rate, or clip."
        )
        self.name = name
        self.rows = tuple(rows)
        self.count = count


class ResizedTableError(BankError, ValueError):
    """A table has another shape than when the optimiser first changed its rows.

    Attributes:
        name: The table at fault.
        shape: Its shape.
        expected: The shape that the optimiser knows.
    """

    def __init__(self, name: str, shape: Sequence[int], expected: Sequence[int]) -> None:
        super().__init__(
            f"{name} has shape {tuple(shape)}, but had {tuple(expected)} when the optimiser first"
            " changed its rows: rows cannot be told apart any more. Make a new optimiser."
        )
        self.name = name
        self.shape = tuple(shape)
        self.expected = tuple(expected)


class RowStateError(BankError, ValueError):
    """A saved state does not belong to these tables or to this optimiser.

    Attributes:
        problems: All that does not fit.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        listed = "; ".join(problems)
        super().__init__(f"The saved state does not fit, and nothing was loaded: {listed}.")
        self.problems = tuple(problems)
