"""Tensors of safetensors files without reading them: the system brings in what is looked at."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engram_transformers.banks.shards import FLOATS
from engram_transformers.safetensors_header import LENGTH_BYTES


def map_tensors(
    folder: Path, where: Mapping[str, str]
) -> tuple[dict[str, Tensor], list[mmap.mmap]]:
    """Map tensors of checked files into memory, to be read at random.

    Replacing or removing the files changes nothing, as their content stays until nobody maps it.
    Changing them in place does change the tensors.

    Args:
        folder: Where the files are.
        where: Tensor -> file.

    Returns:
        The tensors, and the maps that they lie in.

    Raises:
        OSError: If a file can't be mapped.
    """
    found: dict[str, Tensor] = {}
    maps: list[mmap.mmap] = []
    for name in sorted(set(where.values())):
        with (folder / name).open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            header: dict[str, Any] = json.loads(file.read(length))
            # A private copy of each page that is written: torch wants memory that it may write.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        maps.append(mapped)
        for tensor, file_name in where.items():
            if file_name == name:
                spec = header[tensor]
                dtype, (begin, end) = FLOATS[spec["dtype"]], spec["data_offsets"]
                numbers = torch.frombuffer(
                    mapped,
                    dtype=dtype,
                    count=(end - begin) // dtype.itemsize,
                    offset=LENGTH_BYTES + length + begin,
                )
                found[tensor] = numbers.view(spec["shape"])
    return found, maps
