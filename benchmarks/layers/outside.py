"""What the skill, and a table on top of it, do to text that asks nothing.

Text that the skill's training held the model to (Python's help topics, but for those held out) is
left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks import asking, real_text
from benchmarks.common import require
from benchmarks.foreign_texts import CHAT, PARAGRAPHS
from benchmarks.layers.stages import Stage
from benchmarks.methods.firing import rows_found
from benchmarks.methods.prefix import takes_positions
from benchmarks.setting import Setting
from benchmarks.skill import general
from benchmarks.texts import cut
from engram_transformers import use_tables
from engram_transformers.evaluation import left_padded

_TOKENS = 128
_TRAINED_ON = "Python's reference manual"

Texts = dict[str, list[list[int]]]
"""Ids of texts, by source."""


def texts_of(setting: Setting) -> Texts:
    """Return texts of several kinds, each of so many tokens at most."""
    tokenizer: Any = setting.tokenizer
    count = setting.options.texts or (100 if setting.device.type == "cuda" else 12)
    count = 2 if setting.quick else count
    has_template = bool(getattr(tokenizer, "chat_template", None))
    found = {
        "twelve other languages": list(PARAGRAPHS),
        "chats": [_chat(tokenizer, *pair) if has_template else "\n".join(pair) for pair in CHAT],
        "Python's help, held out of training": general.texts()[1],
    }
    real = real_text.sources(setting.data, quick=setting.quick)
    found |= {one.name: one.documents for one in real if one.name != _TRAINED_ON}
    return {
        name: [_ids(tokenizer, text) for text in _spread(texts, count)]
        for name, texts in found.items()
    }


def losses(model: Any, texts: Texts) -> dict[str, tuple[float, int]]:
    """Return for each source the sum of nats of its tokens but the first, and their number."""
    found: dict[str, tuple[float, int]] = {}
    for name, rows in texts.items():
        total, tokens = 0.0, 0
        for part in _batches(rows, model.device):
            logits, _ = _read(model, part)
            for row, ids in enumerate(part):
                own = logits[row, -len(ids) : -1].float().log_softmax(-1)
                gold = torch.tensor(ids[1:], device=own.device).unsqueeze(1)
                total -= float(own.gather(1, gold).double().sum())
                tokens += len(ids) - 1
        found[name] = (total, tokens)
    return found


def cost(base: dict[str, tuple[float, int]], now: dict[str, tuple[float, int]]) -> dict[str, Any]:
    """Return by how many nats per token texts are harder to read than they were."""
    sources: list[dict[str, Any]] = [
        {"name": name, "tokens": tokens, "nats": (now[name][0] - total) / max(tokens, 1)}
        for name, (total, tokens) in base.items()
    ]
    tokens = sum(one["tokens"] for one in sources)
    mean = sum(one["nats"] * one["tokens"] for one in sources) / max(tokens, 1)
    return {"nats": mean, "tokens": tokens, "sources": sources}


def bits(stage: Stage, texts: Texts) -> dict[str, int]:
    """Compare the logits of each text with no table and with each user's, on top of the skill.

    Where no row is found they must be equal: that is required.

    Returns:
        texts: How many texts.
        tables: How many tables each was read with.
        compared: Both together.
        equal: In how many all logits are the same bits.
        with_row: In how many a row is found.
    """
    rows = [ids for some in texts.values() for ids in some]
    tables = list(stage.tables.values())
    counts = {"texts": len(rows), "tables": len(tables), "compared": 0, "equal": 0, "with_row": 0}
    model = stage.model
    for part in _batches(rows, model.device):
        with use_tables(model, None):
            base, _ = _read(model, part)
        for table in tables:
            with use_tables(model, table):
                read, mask = _read(model, part)
            for row, hits in enumerate(rows_found(table, part)):
                own = mask[row].bool()
                is_equal = torch.equal(base[row, own], read[row, own])
                require(is_equal or any(hits), "a table changes no text in which no row is found")
                counts["compared"] += 1
                counts["equal"] += is_equal
                counts["with_row"] += any(hits)
    return counts


@torch.inference_mode()
def _read(model: Any, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return logits (batch, length, vocab) and the mask (batch, length)."""
    ids, mask = left_padded(rows, model.device)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if takes_positions(model):  # padding counts as none
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)
    return model(**inputs).logits, mask


def _batches(rows: Sequence[Sequence[int]], device: torch.device) -> list[list[Sequence[int]]]:
    # A row of logits is as dear as many hidden states.
    costs = [64 * len(ids) for ids in rows]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    return [[rows[i] for i in part] for part in asking.batches(order, costs, device)]


def _spread(texts: Sequence[str], count: int) -> list[str]:
    """Return so many texts from everywhere in a list."""
    step = max(len(texts) / count, 1.0)
    return [texts[int(i * step)] for i in range(min(count, len(texts)))]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return asking.ids_of(tokenizer, [cut(tokenizer, text, _TOKENS + 2)])[0]


def _chat(tokenizer: Any, user: str, assistant: str) -> str:
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return tokenizer.apply_chat_template(turns, tokenize=False)
