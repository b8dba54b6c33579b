"""Seeded orthonormal maps: regenerated wherever they are needed, never shipped."""

from __future__ import annotations

import torch
import xxhash
from torch import Tensor


def seeded_orthonormal(name: str, seed: int, rows: int, columns: int) -> Tensor:
    """Return a matrix with orthonormal columns (orthonormal rows if it is wider than tall).

    The Q of a QR decomposition with R's diagonal made positive, which is unique, of numbers that
    are hashes of their index: no generator whose stream a release might change.

    Args:
        name: Which map; other names give unrelated maps.
        seed: The configuration's.
        rows: Height.
        columns: Width.

    Returns:
        (rows, columns) float32 on the CPU.
    """
    if rows < columns:
        return seeded_orthonormal(name, seed, columns, rows).T.contiguous()
    digest = xxhash.xxh64_intdigest(f"engram-transformers projection {name}".encode(), seed)
    counter = torch.arange(rows * columns, dtype=torch.int64) + _signed(digest)
    # Weyl sequence and xor-shift multiply, as in hashing; the top 24 bits become [-1, 1).
    mixed = _mix(_mix(counter * _signed(0x9E3779B97F4A7C15)))
    uniform = ((mixed >> 40) & 0xFFFFFF).double() / (1 << 23) - 1
    q, r = torch.linalg.qr(uniform.view(rows, columns))
    return (q * torch.sign(torch.diagonal(r))).float().contiguous()


def _mix(value: Tensor) -> Tensor:
    value = (value ^ ((value >> 31) & 0x1FFFFFFFF)) * _signed(0xD6E8FEB86659FD93)
    return value ^ ((value >> 32) & 0xFFFFFFFF)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
