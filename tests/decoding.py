"""What the tests of decoding share: prompts, tables that fire often, how answers are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tables import Reads, Synthetic, frequent_ngrams, make_table
from transformers import Cache, DynamicCache, QuantizedCache, StaticCache

PROMPTS = ("Mira's favourite spice is", "The library opens at nine. My number is", "Where do I")
STEPS = 14
NOTHING_SAID = 1_000_000
"""An id of a token that ends texts, which no model says."""

# Full attention, a window everywhere, and both in turn.
KINDS = ("llama", "mistral", "gemma3")

CACHES: dict[str, Callable[[Any], Cache | None]] = {
    "made by the model": lambda _: None,
    "dynamic": lambda _: DynamicCache(),
    "dynamic as the model is": lambda config: DynamicCache(config=config),
    "static": lambda config: StaticCache(config=config, max_cache_len=64),
    "quantized": lambda config: QuantizedCache("fp8", config),
}


def frequent(model: Any, seed: int = 0, **options: Any) -> Synthetic:
    """Return a table of which about a third of all positions read a row."""
    return make_table(
        model, frequent_ngrams(model, seed), seed=seed, distinct_rows=64, scale=1.0, **options
    )


def generate(model: Any, ids: Any, **options: Any) -> Any:
    """Generate `STEPS` tokens greedily, whatever they are, unless told otherwise.

    Args:
        model: A causal language model.
        ids: One prompt's ids, or (batch, seq) ids.
        **options: Of `generate`; they replace what is set here.
    """
    input_ids = torch.tensor([ids]) if isinstance(ids, list) else ids
    settings = {
        "max_new_tokens": STEPS,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 2,
        "attention_mask": torch.ones_like(input_ids),
        **options,
    }
    return model.generate(input_ids, **settings)


def padded(tokenizer: Any, side: str, texts: tuple[str, ...] = PROMPTS) -> Any:
    """Return a batch of texts, padded on one side."""
    return tokenizer(list(texts), return_tensors="pt", padding=True, padding_side=side)


def with_answer(mask: torch.Tensor, steps: int = STEPS - 1) -> torch.Tensor:
    """Return a prompt's mask with the answer's tokens, but the last one, which is never read."""
    return torch.nn.functional.pad(mask, (0, steps), value=1)


def positions_of(mask: torch.Tensor) -> torch.Tensor:
    """Return position ids as `generate` makes them: 0 at padding."""
    return (mask.long().cumsum(-1) - 1).masked_fill(mask == 0, 0)


def assert_reads(
    reads: Reads, expected: tuple[torch.Tensor, torch.Tensor], at_least: int = 1
) -> None:
    """Compare what a memory was given, over all calls, with the plain-Python reader.

    Args:
        reads: Of `watching`.
        expected: Of `expected_reads`.
        at_least: How many rows must have been read for the test to mean anything.
    """
    found, rows = reads.joined()
    assert torch.equal(found, expected[0])
    assert torch.equal(rows, expected[1])
    assert int(found.sum()) >= at_least
