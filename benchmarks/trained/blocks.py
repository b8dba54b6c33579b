"""Texts as blocks of tokens of one length, and which of their n-grams were seen in training."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

_AT_ONCE = 256
_WORD = re.compile(r"[^\W\d][\w.]*\w")
_NAME = re.compile(r"[_.\d]|[a-z][A-Z]")


class Blocks(NamedTuple):
    """Documents one after another, each ended by the end of text, cut into pieces of one length.

    Attributes:
        ids: (blocks, length) int64, on the CPU.
        in_name: (blocks, length) bool: whether a token goes on with a name that tokens before it
            began. A name is a word with an underscore, a dot, a digit or a capital letter after a
            small one: "past_key_values", "torch.nn", "float32", "AutoModel".
    """

    ids: Tensor
    in_name: Tensor


def in_blocks(tokenizer: Any, texts: Sequence[str], length: int, most: int | None = None) -> Blocks:
    """Cut texts into blocks; what is left over at the end is dropped.

    Args:
        tokenizer: A fast one, with an end of text.
        texts: In their order.
        length: Tokens of a block.
        most: Blocks, at most.
    """
    ids: list[int] = []
    in_name: list[bool] = []
    for start in range(0, len(texts), _AT_ONCE):
        if most is not None and len(ids) >= most * length:
            break
        some = list(texts[start : start + _AT_ONCE])
        encoded = tokenizer(
            some, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        for text, row, offsets in zip(
            some, encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            ids += [*row, tokenizer.eos_token_id]
            in_name += [*_in_names(text, offsets), False]
    count = len(ids) // length
    count = count if most is None else min(count, most)
    if not count:
        raise ValueError(f"{len(ids)} tokens of text do not fill a block of {length}.")
    shape = (count, length)
    return Blocks(
        torch.tensor(ids[: count * length]).view(shape),
        torch.tensor(in_name[: count * length]).view(shape),
    )


def times_seen(training: Tensor, asked: Tensor, order: int) -> Tensor:
    """Count how often the n-gram that ends at each position occurs in training. Exact.

    Args:
        training: (blocks, length) int64.
        asked: (blocks, length) int64.
        order: Tokens of an n-gram.

    Returns:
        (blocks, length) int64 of `asked`; -1 at the first `order` - 1 positions of a block.
    """
    base = int(max(training.max(), asked.max())) + 1
    parts = [training, asked]
    numbers = [part.clone() for part in parts]
    for shift in range(1, order):
        # Numbered anew for each order, so that products stay far below 63 bits.
        joined = [n[:, :-1] * base + p[:, shift:] for n, p in zip(numbers, parts, strict=True)]
        every = torch.cat([part.flatten() for part in joined])
        _, inverse = torch.unique(every, return_inverse=True)
        sizes = [part.numel() for part in joined]
        split = inverse.split(sizes)
        numbers = [s.view(j.shape) for s, j in zip(split, joined, strict=True)]
    highest = int(max(part.max() for part in numbers)) + 1
    counts = torch.bincount(numbers[0].flatten(), minlength=highest)
    found = torch.full_like(asked, -1)
    found[:, order - 1 :] = counts[numbers[1]]
    return found


def _in_names(text: str, offsets: Sequence[tuple[int, int]]) -> list[bool]:
    """Say of each token whether it starts inside a name."""
    spans = [m.span() for m in _WORD.finditer(text) if _NAME.search(m.group())]
    starts = [start for start, _ in spans]
    found: list[bool] = []
    for begin, _ in offsets:
        last = bisect_right(starts, begin - 1) - 1  # the last name that starts before the token
        found.append(last >= 0 and begin < spans[last][1])
    return found
