"""The text that every condition is trained on: the same token ids in the same batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.real_text import conversations
from benchmarks.setting import Setting
from benchmarks.texts import reference_text


def examples(setting: Setting, count: int, length: int) -> tuple[list[dict[str, Tensor]], str]:
    """Return examples of real text without padding, in an order, and where it is from.

    Args:
        setting: With the tokenizer, and the folder where chats may be.
        count: How many; text is read again from its beginning where there is too little.
        length: Tokens of each.

    Returns:
        `input_ids`, `labels` and `attention_mask`, each (length,) int64; and the source's name.
        The first label is -100: nothing is said before it, but of models that it does not know, as
        wrappers are, the Trainer would count it.
    """
    chats = conversations(setting.data)
    source = "Python's reference manual"
    texts = [reference_text()]
    if chats:
        source, texts = f"LoCoMo, chat; {source}", [*chats, *texts]
    ids = _ids(setting.tokenizer, texts, count * length)
    rows = ids[: len(ids) // length * length].view(-1, length)  # (count or fewer, length)
    source += f"; {min(count, len(rows)):,} different sequences of {length} tokens"
    mask = torch.ones(length, dtype=torch.int64)
    labels = rows.clone()
    labels[:, 0] = -100
    made = [
        {"input_ids": row, "labels": asked, "attention_mask": mask}
        for row, asked in zip(rows, labels, strict=True)
    ]
    return [made[number % len(made)] for number in range(count)], source


def _ids(tokenizer: Any, texts: list[str], most: int) -> Tensor:
    """Return at most so many ids, without padding's own, which collators may hide."""
    how = {"add_special_tokens": False, "verbose": False}  # no sequence is as long as a text
    found: list[int] = []
    for text in texts:
        for begin in range(0, len(text), 1 << 16):
            part = tokenizer(text[begin : begin + (1 << 16)], **how)["input_ids"]
            found += [one for one in part if one != tokenizer.pad_token_id]
            if len(found) >= most:
                return torch.tensor(found[:most])
    return torch.tensor(found)
