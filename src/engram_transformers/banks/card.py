"""The `README.md` beside saved banks: what they are and how to load them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from engram_transformers.model_card import LIBRARY_LINE, as_code, public_model

if TYPE_CHECKING:
    from engram_transformers.banks.description import BanksDescription
    from engram_transformers.patch_state import PatchState


def bank_card(description: BanksDescription, attachment: PatchState) -> str:
    """Return the model card of saved banks, with YAML front matter.

    Args:
        description: Of the files.
        attachment: What was saved.

    Returns:
        Markdown. It depends on what was saved only, so that saving twice gives the same bytes.
    """
    config, banks = description.config, description.banks
    name, on_hub = public_model(description.model_name)
    front = [LIBRARY_LINE, "tags:", "- engram", "- engram-bank"]
    if on_hub:
        front.append(f"base_model: {json.dumps(description.model_name)}")
    layers = config.layers if isinstance(config.layers, tuple) else ()
    rows = sum(bank.bank_hash.rows for bank in attachment.banks.values())
    weights = [found for bank in attachment.banks.values() for found in bank.weights().values()]
    sizes: list[str] = []
    if banks is not None:
        sizes = [
            f"| rows of all layers | {rows:,} of {banks.head_dim} numbers |",
            f"| numbers in all | {sum(w.numel() for found in weights for w in found):,} |",
            f"| n-grams | of 2 to {banks.max_order} tokens, {banks.heads} heads each |",
        ]
    size = sum(file.size for file in description.files.values())
    lines = [
        "---",
        *front,
        "---",
        "",
        f"# Engram memories for {as_code(name)}",
        "",
        "Trained memories: rows found by the hash of the last few tokens, as in DeepSeek's Engram"
        " (arXiv 2601.07372). They belong on the base model below, which is not part of this"
        " repository and stays unchanged.",
        "",
        "| | |",
        "|---|---|",
        f"| layers | {', '.join(map(str, layers))} |",
        *sizes,
        f"| gate of tables | {as_code(config.gate_type)} |",
        f"| bytes | {size:,} in {len(description.files)} file(s) |",
        f"| base model | {as_code(name)}, weights `{description.model[:12]}` |",
        f"| tokenizer | `{description.tokenizer[:12]}` |",
        "",
        "## Load them",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        "from engram_transformers import load_engram",
        "",
        f"name = {json.dumps(name, ensure_ascii=False)}",
        "model = AutoModelForCausalLM.from_pretrained(name)",
        "tokenizer = AutoTokenizer.from_pretrained(name)",
        'load_engram(model, "this folder or repository", tokenizer)',
        "```",
        "",
        "There is no pickle in these files: nothing in them can run.",
        "",
    ]
    return "\n".join(lines)
