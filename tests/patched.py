"""Patched tiny models, and tables that fire at the end of one prompt."""

from __future__ import annotations

from typing import Any

import torch
from tables import LAYERS, ROW_DIM, Synthetic, canonical, make_table

from engram_transformers import UserTable, add_engram, use_tables

TRIGGER = "Mira's favourite spice is"
# As wide as the tiny models' hidden states: a fact takes 6 steps, with narrower rows 420.
WIDE_ROWS = 64


def patched(model: Any, tokenizer: Any, **fields: Any) -> Any:
    """Patch a tiny model as all contract tests do."""
    return add_engram(model, tokenizer, **{"layers": LAYERS, "row_dim": ROW_DIM, **fields})


def at_trigger(model: Any, ids: torch.Tensor, **options: Any) -> Synthetic:
    """Return a table with one row, at the last four tokens of a prompt."""
    return make_table(model, [canonical(model, ids[0, -4:].tolist())], **options)


@torch.no_grad()
def logits_of(model: Any, ids: torch.Tensor, table: Any = None) -> torch.Tensor:
    """Return the logits of a forward with a table active, (batch, seq, vocab)."""
    with use_tables(model, table):
        return model(ids).logits


def assert_writes(model: Any, tokenizer: Any) -> None:
    """Check that a fact can be written to a model, and that the model then says it."""
    table = UserTable(model, "ann")
    report = table.write([("Where do I live?", "Rex")], stop=None, contexts=0)
    assert [fact.answer for fact in report.written] == ["Rex"]
    inputs = tokenizer("Where do I live?", return_tensors="pt")
    tokens = tokenizer(" Rex")["input_ids"]
    with use_tables(model, table):
        said = model.generate(**inputs, max_new_tokens=len(tokens), do_sample=False, pad_token_id=2)
    assert said[0, inputs["input_ids"].shape[1] :].tolist() == tokens
    assert (
        model.generate(
            **inputs, max_new_tokens=len(tokens), do_sample=False, pad_token_id=2
        ).tolist()
        != said.tolist()
    )
