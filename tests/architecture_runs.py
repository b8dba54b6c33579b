"""How a model is asked, and what counts as the same answer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from engram_transformers import use_tables

STEPS = 8
# Of the logits' spread. Sums in another order move them by 0.1 % in the deepest recurrences; a row
# that is read wrongly, by as much as they vary.
_TOLERANCE = 1e-2


@torch.no_grad()
def logits_of(model: Any, ids: Tensor) -> Tensor:
    """Return the logits of one forward without a cache, (batch, seq, vocab)."""
    return model(ids, use_cache=False).logits


def generate(model: Any, tables: Any, ids: Tensor, **options: Any) -> Any:
    """Generate greedily past any end of text, and keep the logits.

    Args:
        model: Bare or patched.
        tables: For `use_tables`; None for a bare model.
        ids: (batch, seq).
        options: Of `generate`.
    """
    settings = {
        "attention_mask": torch.ones_like(ids),
        "max_new_tokens": STEPS,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 2,
        "return_dict_in_generate": True,
        "output_logits": True,
        "output_scores": True,
        **options,
    }
    if tables is None:
        return model.generate(ids, **settings)
    with use_tables(model, tables):
        return model.generate(ids, **settings)


def cached_or_not(model: Any, tables: Any, ids: Tensor, **options: Any) -> str:
    """Say how generation with and without a cache differ; empty if they don't."""
    cached = generate(model, tables, ids, **options)
    whole = generate(model, tables, ids, use_cache=False, **options)
    if options.get("num_beams", 1) > 1:
        if torch.equal(cached.sequences, whole.sequences):
            return difference(cached.sequences_scores, whole.sequences_scores)
        return "other beams win"
    start = ids.shape[1]
    return steps_differ(cached, 0, whole, 0, start, start)


def steps_differ(
    one: Any, row: int, other: Any, other_row: int, start: int, other_start: int
) -> str:
    """Compare generated tokens and logits, up to where two tokens were as good as each other."""
    for step in range(STEPS):
        found = difference(one.logits[step][row], other.logits[step][other_row])
        if found:
            return f"at step {step}, {found}"
        if one.sequences[row, start + step] != other.sequences[other_row, other_start + step]:
            break
    return ""


def difference(seen: Tensor, expected: Tensor) -> str:
    """Say how far two tensors are apart; empty if only rounding parts them."""
    finite = expected.isfinite() & seen.isfinite()
    if not torch.equal(seen.isfinite(), expected.isfinite()):
        return "logits are not finite"
    spread = float(expected[finite].std()) if int(finite.sum()) > 1 else 1.0
    off = float((seen - expected)[finite].abs().max())
    return (
        f"logits are off by {off / spread:.2g} of their spread" if off > _TOLERANCE * spread else ""
    )


def outcome_of(compare: Callable[[], str]) -> tuple[str, Exception | None]:
    """Return what a comparison says, and the error it ends in, if any."""
    try:
        return compare(), None
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        return f"{type(error).__name__}: {first_line(error)}", error


def traces_of(model: torch.nn.Module) -> dict[str, Any]:
    """Return everything about a model that patching might leave behind."""
    return {
        "modules": [(name, type(module)) for name, module in model.named_modules()],
        "attributes": [sorted(module.__dict__) for module in model.modules()],
        "hooks": [
            [len(value) for key, value in sorted(module.__dict__.items()) if "_hooks" in key]
            for module in model.modules()
        ],
        "state": list(model.state_dict()),
        "unsaved": sorted(getattr(model, "_keys_to_ignore_on_save", None) or ()),
        "training": [module.training for module in model.modules()],
        "grad": [parameter.requires_grad for parameter in model.parameters()],
    }


def saved_keys(model: Any) -> set[str]:
    """Return the names of the weights that `save_pretrained` writes."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        keys: set[str] = set()
        for path in Path(folder).glob("*.safetensors"):
            with safe_open(path, framework="pt") as file:
                keys.update(file.keys())
    return keys


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its name where there is none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
