"""Make the golden files of saved banks: run once per format version, and never again.

PYTHONPATH=tests python tests/data/make_golden_banks.py
"""

from __future__ import annotations

from pathlib import Path

import tiny
import torch
from saved_banks import golden_weights

from engram_transformers import add_engram, save_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.banks.description import FORMAT_VERSION

CONFIG = {
    "layers": [1, 3],
    "memory_size": 40,
    "bank_heads": 1,
    "bank_dim": 4,
    "bank_kernel_size": 2,
    "seed": 11,
}


def main() -> None:
    model = add_engram(tiny.tiny_model("gpt2"), tiny.tiny_tokenizer(), **CONFIG)
    for bank in require_attachment(model).banks.values():
        bank.to(torch.bfloat16)
        for weight, numbers in zip(bank.parameters(), golden_weights(bank), strict=True):
            weight.data.copy_(numbers)
    save_engram(model, Path(__file__).parent / f"banks_{FORMAT_VERSION}", max_shard_size=1_000)


if __name__ == "__main__":
    main()
