"""What a model says next: greedy continuations of several prompts at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import GenerationConfig

from engram_transformers.active import TablesOfSample, use_tables
from engram_transformers.evaluation import left_padded
from engram_transformers.facts import Prompt
from engram_transformers.sequences import prompt_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from engram_transformers.table import UserTable

TITLES = r"(?<!\bMr)(?<!\bMs)(?<!\bDr)(?<!\bMrs)"  # their full stop ends no sentence
_FIRST_SENTENCE = re.compile(rf"\s*\S.*?(?:{TITLES}[.!?…](?=\s|$)|(?=\n)|$)", re.DOTALL)


def continuations(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    tables: UserTable | Sequence[TablesOfSample] | None,
    *,
    max_new_tokens: int,
) -> list[str]:
    """Continue prompts greedily, in one batch.

    Args:
        model: A patched model.
        tokenizer: The model's.
        prompts: Texts, or chats of which the assistant's turn is next.
        tables: As in `use_tables`.
        max_new_tokens: At most so many; fewer where the model ends the text or its turn.

    Returns:
        For each prompt what comes after it, without special tokens.
    """
    device = next(model.parameters()).device
    ids, mask = left_padded([prompt_ids(tokenizer, prompt)[0] for prompt in prompts], device)
    own: Any = model.generation_config
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=0 if own.pad_token_id is None else own.pad_token_id,
        eos_token_id=own.eos_token_id,
    )
    generator: Any = model
    with use_tables(model, tables), torch.inference_mode():
        output = generator.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
    decode: Any = tokenizer
    return list(decode.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True))


def first_sentence(text: str) -> str:
    """Cut a continuation behind its first sentence or line, as facts in text end."""
    found = _FIRST_SENTENCE.match(text)
    return found[0] if found is not None else text
