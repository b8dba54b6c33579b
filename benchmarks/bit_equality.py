"""Is a text in which no row is found left as it is, bit for bit? Logits, and what is generated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import require
from benchmarks.methods.firing import rows_found
from engram_transformers import UserTable, use_tables


@torch.inference_mode()
def compare_logits(
    bare: Any, patched: Any, table: UserTable, tokenizer: Any, texts: Sequence[str], batch: int
) -> dict[str, Any]:
    """Compare the logits of an unpatched model with those of a patched one that reads a table.

    Where no row is found, and before the first one, they must be equal: that is required.

    Args:
        bare: The model as it came.
        patched: The same with memories.
        table: What is active.
        tokenizer: Pads on the left.
        texts: To be read.
        batch: How many at once.

    Returns:
        Counts, and what rows do to tokens at which they are found and to those behind.
    """
    counts: Counter[str] = Counter(texts=len(texts))
    at_rows, behind_rows = Losses(), Losses()
    ordered = sorted(texts, key=len)
    for start in range(0, len(ordered), batch):
        inputs = tokenizer(ordered[start : start + batch], return_tensors="pt", padding=True)
        inputs = inputs.to(bare.device)
        base = bare(**inputs).logits
        with use_tables(patched, table):
            read = patched(**inputs).logits
        same = (base == read).all(-1).tolist()
        ids = [
            row[mask.bool()] for row, mask in zip(*_ids_and_mask(inputs), strict=True)
        ]  # padding is on the left
        for row, hits in enumerate(rows_found(table, [one.tolist() for one in ids])):
            is_same = same[row][-len(hits) :]
            if not any(hits):
                counts.update(without_row=1, equal=int(all(is_same)), tokens_equal=sum(is_same))
                continue
            first = hits.index(True)
            counts.update(with_row=1, equal_before=int(all(is_same[:first])), tokens_before=first)
            losses = nats(base[row, -len(hits) :], read[row, -len(hits) :], ids[row])
            for place in range(first, len(hits) - 1):
                (at_rows if hits[place] else behind_rows).add(losses[0][place], losses[1][place])
    require(counts["equal"] == counts["without_row"], "text without a row keeps its logits")
    require(counts["equal_before"] == counts["with_row"], "so does text before its first row")
    names = ("texts", "without_row", "equal", "tokens_equal")
    names += ("with_row", "equal_before", "tokens_before")
    return {
        **{name: counts[name] for name in names},
        "at_rows": at_rows.as_json(),
        "behind_rows": behind_rows.as_json(),
    }


@torch.inference_mode()
def compare_answers(
    bare: Any,
    patched: Any,
    table: UserTable,
    tokenizer: Any,
    prompts: Sequence[str],
    tokens: int,
    batch: int,
) -> dict[str, Any]:
    """Compare what both models generate greedily; where no row is found it must be the same."""
    counts: Counter[str] = Counter()
    ordered = sorted(prompts, key=len)
    options = {"max_new_tokens": tokens, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
    for start in range(0, len(ordered), batch):
        inputs = tokenizer(ordered[start : start + batch], return_tensors="pt", padding=True)
        inputs = inputs.to(bare.device)
        base = bare.generate(**inputs, **options).tolist()
        with use_tables(patched, table):
            said = patched.generate(**inputs, **options).tolist()
        masks = inputs["attention_mask"].sum(1).tolist()
        length = inputs["input_ids"].shape[1]
        # Whole texts; the last token's successor is not said.
        found = rows_found(table, [b[length - n : -1] for b, n in zip(base, masks, strict=True)])
        for one, other, hits in zip(base, said, found, strict=True):
            kind = "with_row" if any(hits) else "without_row"
            counts.update({"prompts": 1, kind: 1, f"{kind}_same": int(one == other)})
    require(counts["without_row"] == counts["without_row_same"], "answers without a row stay")
    names = ("prompts", "without_row", "without_row_same", "with_row", "with_row_same")
    return {"tokens": tokens, **{name: counts[name] for name in names}}


class Losses:
    """Sums of what rows do to tokens."""

    def __init__(self) -> None:
        self.tokens, self.divergence, self.lost = 0, 0.0, 0.0

    def add(self, divergence: float, lost: float) -> None:
        """Count one token."""
        self.tokens, self.divergence = self.tokens + 1, self.divergence + divergence
        self.lost += lost

    def as_json(self) -> dict[str, Any]:
        """Return means in nats: KL(bare || read), and by how much a text's own next token loses."""
        count = max(self.tokens, 1)
        return {
            "tokens": self.tokens,
            "divergence_nats": self.divergence / count,
            "next_token_nats": self.lost / count,
        }


def nats(base: Tensor, read: Tensor, ids: Tensor) -> tuple[list[float], list[float]]:
    """Return KL(base || read) at each position but the last, and what its next token loses."""
    before, after = (logits[:-1].float().log_softmax(-1) for logits in (base, read))
    divergence = (before.exp() * (before - after)).sum(-1)
    lost = (before - after).gather(-1, ids[1:, None])[:, 0]
    return divergence.tolist(), lost.tolist()


def _ids_and_mask(inputs: Any) -> tuple[Tensor, Tensor]:
    return inputs["input_ids"], inputs["attention_mask"]
