"""Small models to be trained from scratch, with a bank and without, at the same FLOPs per token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from benchmarks.trained import flops
from benchmarks.trained.reference_texts import ReferenceText
from engram_transformers import add_engram

_END = "<|end|>"
_MULTIPLE = 8  # of an MLP's width: what GPUs are fast at
_DOCUMENT = 2_000  # characters of a document, at least, where a file is cut at empty lines


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama and its banks.

    Attributes:
        layers: Decoder blocks.
        hidden: Width of the residual stream.
        heads: Of attention.
        mlp: Width of the MLPs in the model without banks.
        length: Tokens of a text.
        bank_layers: Blocks with a bank.
        bank_dim: Numbers that all of its orders and heads contribute.
        rows: Of each bank.
    """

    layers: int
    hidden: int
    heads: int
    mlp: int
    length: int
    bank_layers: tuple[int, ...]
    bank_dim: int
    rows: int

    @property
    def mlp_with_bank(self) -> int:
        """Width of the MLPs beside banks: all are narrowed alike, by what the banks cost.

        A unit of an MLP's width costs three columns of the hidden size in each layer. The width
        is rounded down to a multiple of 8, so the model with banks is never the dearer one.

        Raises:
            ValueError: If nothing would be left.
        """
        cost = flops.of_bank(self.bank_dim, self.hidden, len(self.bank_layers))
        unit = 2 * 3 * self.hidden * self.layers
        left = (self.mlp - -(-cost // unit)) // _MULTIPLE * _MULTIPLE
        if left < _MULTIPLE:
            raise ValueError(
                f"Banks {self.bank_dim} numbers wide cost as much as {self.layers} MLPs"
                f" {self.mlp} wide: take narrower banks (--bank-dim) or wider MLPs (--mlp)."
            )
        return left


def new_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on texts."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=_END, pad_token=_END)


def new_model(shape: Shape, tokenizer: Any, seed: int, *, with_bank: bool) -> Any:
    """Return a random Llama, on the CPU in float32.

    Args:
        shape: Its sizes.
        tokenizer: Whose tokens it reads.
        seed: Of all weights, those of the banks included.
        with_bank: Whether it has banks, and narrower MLPs.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp_with_bank if with_bank else shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.length,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if with_bank:
        add_engram(
            model,
            tokenizer,
            memory_size=shape.rows,
            inject_layers=list(shape.bank_layers),
            bank_dim=shape.bank_dim,
            seed=seed,
        )
    return model


def documents(files: Sequence[Path]) -> list[ReferenceText]:
    """Return the documents of text files, each cut at empty lines into pieces of a few paragraphs.

    Raises:
        FileNotFoundError: If a file is not there.
    """
    found: list[ReferenceText] = []
    for file in files:
        piece = ""
        for paragraph in file.read_text(encoding="utf-8", errors="ignore").split("\n\n"):
            piece += paragraph + "\n\n"
            if len(piece) >= _DOCUMENT:
                found.append(ReferenceText(f"{file.name}:{len(found)}", piece.strip()))
                piece = ""
        if piece.strip():
            found.append(ReferenceText(f"{file.name}:{len(found)}", piece.strip()))
    return found
