"""The bytes of `table.safetensors`: a table written down, and read back only if all of it is right.

docs/file-format.md describes them for readers in other languages.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import safetensors.torch
import torch
import xxhash
from safetensors import SafetensorError
from torch import Tensor

from engram_transformers.errors import TableFileError
from engram_transformers.index import Rows
from engram_transformers.safetensors_header import (
    LENGTH_BYTES,
    TensorSpec,
    check_tensors,
    read_header,
)
from engram_transformers.storage import (
    LARGEST_CODES,
    decode_rows,
    encode_row_index,
    encode_rows,
    has_stray_codes,
)
from engram_transformers.strict_json import parse_json
from engram_transformers.table_header import (
    DIGEST_FIELD,
    METADATA_KEY,
    Description,
    check_description,
)

_NO_DIGEST = "0" * 32
_STORED_DTYPES = {
    "int4": "U8",
    "int8": "I8",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
}


@dataclass(frozen=True)
class StoredTable:
    """All of a table that a file holds.

    Attributes:
        description: What is in the header.
        rows: Addresses and rows.
    """

    description: Description
    rows: Rows

    @property
    def nbytes(self) -> int:
        """Bytes of rows and addresses in the file."""
        return sum(tensor.nbytes for tensor in _tensors(self).values())


def encode_table(table: StoredTable) -> bytes:
    """Return a table as the bytes of a safetensors file; the same table gives the same bytes.

    Args:
        table: The table.

    Returns:
        The file.

    Raises:
        ValueError: If it has text that UTF-8 can't express (half of a surrogate pair).
        TableFileError: If the file could not be loaded again: NaN in a row, for example.
    """
    from engram_transformers import __version__

    fields = {
        "format_version": table.description.format_version,
        **table.description.to_dict(),
        "created_by": __version__,
        DIGEST_FIELD: _NO_DIGEST,
    }
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    text.encode("utf-8")
    unsealed = safetensors.torch.save(_tensors(table), {METADATA_KEY: text})
    # The metadata ends in the digest, and neither quotes nor zeros of a fact's text can look like
    # this: the text's own quotes carry more backslashes.
    blank = f'\\"{DIGEST_FIELD}\\":\\"{_NO_DIGEST}\\"}}"'.encode()
    sealed = blank.replace(_NO_DIGEST.encode(), xxhash.xxh3_128_hexdigest(unsealed).encode())
    data = unsealed.replace(blank, sealed, 1)
    decode_table(io.BytesIO(data), len(data), "what would be saved")
    return data


def decode_table(file: BinaryIO, size: int, name: object) -> StoredTable:
    """Read a table, after every check.

    Args:
        file: A safetensors file, at its start.
        size: Its size in bytes; nothing larger is allocated.
        name: For the error.

    Returns:
        The table.

    Raises:
        TableFileError: Naming everything that is wrong.
    """
    header_bytes = read_header(file, size, name)
    header = _parse_header(header_bytes, name)
    specs, problems = check_tensors(header, size - LENGTH_BYTES - len(header_bytes))
    complete = not problems
    description, digest, described = check_description(header)
    problems += described
    misfits = _misfits(specs, description) if complete and description is not None else []
    problems += misfits
    tensors: dict[str, Tensor] = {}
    if complete:
        length = len(header_bytes).to_bytes(LENGTH_BYTES, "little")
        data = length + header_bytes + file.read(size - LENGTH_BYTES - len(header_bytes))
        if digest is not None and digest != _digest(data, digest):
            problems.append("does not have its digest: it was changed or damaged after being saved")
        if description is not None and not misfits:
            try:
                tensors = safetensors.torch.load(data)
                problems += _wrong_values(tensors, description)
            except SafetensorError as error:
                problems.append(f"is refused by safetensors: {error}")
    if problems or description is None:
        raise TableFileError(name, problems)
    return StoredTable(description, _as_rows(tensors, description))


def _tensors(table: StoredTable) -> dict[str, Tensor]:
    rows = table.rows
    tensors = {"addresses": rows.addresses, **encode_rows(rows.values, table.description.dtype)}
    row_index = encode_row_index(rows.row_index, rows.values.shape[0])
    if row_index is not None:
        tensors["row_index"] = row_index
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _as_rows(tensors: dict[str, Tensor], description: Description) -> Rows:
    values = decode_rows(tensors, description.binding.row_width)
    row_index = tensors.get("row_index", torch.arange(values.shape[0]))
    return Rows(tensors["addresses"], row_index.to(torch.int64), values, description.orders)


def _digest(data: bytes, digest: str) -> str | None:
    """Return the digest of a file as it was before it was sealed; None if it is not in there."""
    found = digest.encode()
    if data.count(found) != 1:
        return None
    return xxhash.xxh3_128_hexdigest(data.replace(found, _NO_DIGEST.encode()))


def _parse_header(data: bytes, name: object) -> dict[str, Any]:
    try:
        header = parse_json(data)
    except ValueError as error:
        raise TableFileError(name, [f"has a header that {error}"]) from None
    if not isinstance(header, dict):
        raise TableFileError(name, ["has a header that is not a JSON object"])
    return cast("dict[str, Any]", header)


def _misfits(specs: dict[str, TensorSpec], description: Description) -> list[str]:
    """Return where the tensors' dtypes and shapes do not fit the description or each other."""
    rows, addresses = specs["rows"], specs["addresses"]
    row_dim = description.binding.row_width
    problems: list[str] = []
    if rows.dtype != _STORED_DTYPES[description.dtype]:
        problems.append(f"has rows as {rows.dtype}, but says they are {description.dtype}")
    width = (row_dim + 1) // 2 if description.dtype == "int4" else row_dim
    if len(rows.shape) != 2 or rows.shape[1] != width:
        return [*problems, f"has rows of shape {list(rows.shape)}, but row_dim is {row_dim}"]
    if len(addresses.shape) != 1:
        return [*problems, f"has addresses of shape {list(addresses.shape)}"]
    count = rows.shape[0]
    if ("scales" in specs) != (description.dtype in LARGEST_CODES):
        problems.append("has scales though its rows need none, or none though they do")
    elif "scales" in specs and specs["scales"].shape != (count,):
        problems.append(f"has scales of shape {list(specs['scales'].shape)} for {count} rows")
    if "row_index" in specs and specs["row_index"].shape != addresses.shape:
        problems.append(
            f"has a row_index of shape {list(specs['row_index'].shape)} for"
            f" {addresses.shape[0]} addresses"
        )
    if "row_index" not in specs and addresses.shape[0] != count:
        problems.append(f"has {addresses.shape[0]} addresses and {count} rows, but no row_index")
    return problems


def _wrong_values(tensors: dict[str, Tensor], description: Description) -> list[str]:
    """Return what is wrong with the numbers of tensors that have the right shapes."""
    problems: list[str] = []
    addresses, rows = tensors["addresses"], tensors["rows"]
    buckets = description.binding.buckets
    if buckets is not None and not bool(((addresses >= 0) & (addresses < buckets.rows)).all()):
        problems.append(f"has addresses outside the {buckets.rows} rows that it replaces some of")
    if not bool((addresses[1:] > addresses[:-1]).all()):
        problems.append("has addresses that are not sorted, or there twice")
    if (addresses.numel() == 0) != (not description.orders):
        problems.append(f"has {addresses.numel()} addresses, but orders {list(description.orders)}")
    if description.entries is not None:
        known = sum(order != 0 for e in description.entries for line in e.orders for order in line)
        if buckets is not None:  # each position reads a row of every head
            known *= len(buckets.sizes)
        if addresses.numel() > known:
            problems.append(f"has {addresses.numel()} addresses, but its ledger knows {known}")
    if rows.dtype == torch.uint8 and has_stray_codes(rows, description.binding.row_width):
        problems.append("has numbers in its int4 rows that are below -7 or beyond row_dim")
    if rows.is_floating_point() and not bool(torch.isfinite(rows).all()):
        problems.append("has NaN or infinity in its rows")
    scales = tensors.get("scales")
    if scales is not None and not bool((torch.isfinite(scales) & (scales > 0)).all()):
        problems.append("has scales that are NaN, infinite, zero or negative")
    row_index = tensors.get("row_index")
    if row_index is not None:
        count = rows.shape[0]
        inside = (row_index >= 0) & (row_index < count)
        if not bool(inside.all()):
            problems.append(f"has a row_index outside its {count} rows")
        elif row_index.to(torch.int64).unique().numel() != count:
            problems.append("has rows that no address leads to")
    return problems
