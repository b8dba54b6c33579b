"""The header of a safetensors file: which tensors there are, and where.

Every check returns what is wrong as predicates ("has no tensor `rows`"), so that a caller can list
all of them behind the file's name. The format: 8 bytes of length, JSON, the tensors' bytes
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from engram_transformers.errors import TableFileError
from engram_transformers.strict_json import shown

LENGTH_BYTES = 8
LONGEST_HEADER_BYTES = 100_000_000
"""The limit of safetensors' own reader."""

_ITEM_BYTES = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "F16": 2, "BF16": 2, "F32": 4}
_TENSOR_DTYPES = {
    "addresses": ("I64",),
    "rows": ("U8", "I8", "F16", "BF16", "F32"),
    "scales": ("F16",),
    "row_index": ("U8", "I16", "I32"),
}
_REQUIRED_TENSORS = ("addresses", "rows")


@dataclass(frozen=True)
class TensorSpec:
    """What the header says about one tensor.

    Attributes:
        dtype: In safetensors' words: "I8", "F16" and so on.
        shape: Its sizes.
    """

    dtype: str
    shape: tuple[int, ...]


def read_header(file: BinaryIO, size: int, name: object) -> bytes:
    """Read the header of a safetensors file, if it is one.

    Args:
        file: At its start; afterwards behind the header.
        size: The file's, in bytes. No more is allocated, whatever the header claims.
        name: For the error.

    Returns:
        The header's JSON.

    Raises:
        TableFileError: If the file is something else, or truncated.
    """
    start = file.read(LENGTH_BYTES + 504)
    kind = _kind_of(start)
    if size < LENGTH_BYTES:
        raise TableFileError(name, [kind or f"is truncated: it has {size} bytes"])
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if length > LONGEST_HEADER_BYTES:
        claim = f"claims a header of {length} bytes; the limit is {LONGEST_HEADER_BYTES}"
        raise TableFileError(name, [kind or claim])
    if length > size - LENGTH_BYTES:
        claim = f"is truncated: its header takes {length} bytes, {size - LENGTH_BYTES} are there"
        raise TableFileError(name, [kind or claim])
    file.seek(LENGTH_BYTES)
    return file.read(length)


def check_tensors(
    header: dict[str, Any], data_bytes: int
) -> tuple[dict[str, TensorSpec], list[str]]:
    """Check what a header says about the tensors.

    Args:
        header: Parsed.
        data_bytes: How many bytes follow it.

    Returns:
        The tensors of a table that are well described, and what is wrong.
    """
    given = {name: spec for name, spec in header.items() if name != "__metadata__"}
    problems = [f"has no tensor `{name}`" for name in _REQUIRED_TENSORS if name not in given]
    specs: dict[str, TensorSpec] = {}
    spans: list[tuple[int, int]] = []
    for name in sorted(given):
        if name not in _TENSOR_DTYPES:
            problems.append(f"has a tensor {name!r}, which no table has")
            continue
        spec, span, problem = _as_spec(name, given[name])
        if spec is not None and span is not None:
            specs[name] = spec
            spans.append(span)
        else:
            problems.append(problem)
    if problems:
        return specs, problems
    spans.sort()
    ends = [0, *(end for _, end in spans)]
    if any(begin != end for (begin, _), end in zip(spans, ends, strict=False)):
        problems.append("has tensors that overlap or leave gaps")
    elif ends[-1] > data_bytes:
        problems.append(f"is truncated: its tensors take {ends[-1]} bytes, {data_bytes} are there")
    elif ends[-1] < data_bytes:
        problems.append(f"has {data_bytes - ends[-1]} bytes behind its tensors")
    return specs, problems


def _as_spec(name: str, given: Any) -> tuple[TensorSpec | None, tuple[int, int] | None, str]:
    """Return a tensor's description, its span of bytes, or what is wrong with it."""
    fields = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    dtype, shape, span = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    sizes = _as_counts(shape)
    offsets = _as_counts(span)
    if len(fields) != 3 or sizes is None or offsets is None or len(offsets) != 2:
        return None, None, f"describes tensor `{name}` wrongly: {shown(given)}"
    allowed = _TENSOR_DTYPES[name]
    if not isinstance(dtype, str) or dtype not in allowed:
        return None, None, f"has `{name}` as {shown(dtype)}, but must have {' or '.join(allowed)}"
    if math.prod(sizes) * _ITEM_BYTES[dtype] != offsets[1] - offsets[0]:
        seen = f"shape {list(sizes)} of {dtype}, but {offsets[1] - offsets[0]} bytes"
        return None, None, f"has `{name}` with {seen}"
    return TensorSpec(dtype, sizes), (offsets[0], offsets[1]), ""


def _as_counts(value: Any) -> tuple[int, ...] | None:
    """Return a short list of sizes as a tuple, None if it is something else."""
    if not isinstance(value, list) or len(cast("list[Any]", value)) > 2:
        return None
    numbers = cast("list[Any]", value)
    return tuple(numbers) if all(type(n) is int and 0 <= n < 1 << 62 for n in numbers) else None


def _kind_of(start: bytes) -> str | None:
    """Say what a file is instead of a safetensors file, None if it could be one."""
    if not start:
        return "is empty"
    if start.startswith(b"PK\x03\x04"):
        return "is a zip archive (a PyTorch checkpoint?), not safetensors; it was not unpacked"
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "is a pickle, which is never loaded, not safetensors"
    if start.lstrip()[:1] == b"<":
        return "is a web page, not safetensors: the download failed"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself: run `git lfs pull`"
    return None
