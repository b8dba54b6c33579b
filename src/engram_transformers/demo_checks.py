"""The demo's measurements: recall in given surroundings, and bit-identity with the base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import xxhash
from torch import nn
from transformers import PreTrainedTokenizerBase

from engram_transformers.active import use_tables
from engram_transformers.demo_report import Locality, Recall
from engram_transformers.demo_texts import CONVERSATION, LONG_TEXT, SMALL_TALK
from engram_transformers.evaluation import ask, is_recalled, left_padded
from engram_transformers.facts import Fact, Prompt
from engram_transformers.plan import find_rows
from engram_transformers.sequences import AUTO_STOP, Wording, prompt_ids, prompt_text, wordings
from engram_transformers.table import UserTable

_LOGITS_PER_BATCH = 1 << 26
"""256 MB in float32: a batch gets as many texts as that holds, whatever the vocabulary."""

Progress = Callable[[int], None]
"""Told how many texts more are done."""


def place_alone(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> Prompt | None:
    """Leave a prompt as it is."""
    return prompt


def place_in_chat(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> Prompt | None:
    """Put a text into the assistant's turn of a chat, and a question behind other turns."""
    if not isinstance(prompt, str):
        return (*SMALL_TALK, *prompt)
    if not tokenizer.chat_template:
        return None
    begun = prompt_text(tokenizer, CONVERSATION)
    # The template writes what the tokenizer would put in front of a text once more.
    return begun.removeprefix(str(tokenizer.bos_token or "")) + prompt


def place_in_long_text(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> Prompt | None:
    """Put a text behind a story of a few hundred tokens."""
    return LONG_TEXT + prompt if isinstance(prompt, str) else None


SURROUNDINGS: dict[str, Callable[[PreTrainedTokenizerBase, Prompt], Prompt | None]] = {
    "on its own": place_alone,
    "in a chat": place_in_chat,
    "in a long text": place_in_long_text,
}
"""What a fact is asked in -> how its prompt is put there (None: it can't be)."""


def measure_recall(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    table: UserTable,
    facts: Sequence[Fact],
    where: str,
    progress: Progress | None = None,
) -> Recall:
    """Ask facts in some surroundings, each in all of its wordings.

    Args:
        model: A patched model.
        tokenizer: The model's.
        table: Their table.
        facts: What to ask.
        where: A key of `SURROUNDINGS`.
        progress: Told of every prompt asked.

    Returns:
        How many were answered whole, and what was said instead of the others.
    """
    place = SURROUNDINGS[where]
    canonical = table.attachment.canonical_list
    lines: list[tuple[Prompt, str, Wording]] = []
    for fact in facts:
        for prompt in fact.prompts:
            placed = place(tokenizer, prompt)
            if placed is not None:
                whole = Fact(placed, fact.answer)
                wording = wordings(tokenizer, whole, AUTO_STOP, 1 << 62, canonical)[0]
                lines.append((prompt, fact.answer, wording))
    asked = [wording for _, _, wording in lines]
    said = ask(model, table, asked, progress, one_pass=False)
    decoder: Any = tokenizer
    wrong = tuple(
        (prompt, answer, decoder.decode(heard.tokens))
        for (prompt, answer, wording), heard in zip(lines, said, strict=True)
        if not is_recalled(wording, heard)
    )
    return Recall(where, len(lines), len(lines) - len(wrong), wrong)


def logit_digests(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Prompt],
    tables: Sequence[UserTable] = (),
    progress: Progress | None = None,
) -> list[str]:
    """Compute digests of all logits of texts: equal digests mean equal bits.

    Args:
        model: Patched if tables are given.
        tokenizer: The model's.
        texts: Read in batches that depend on nothing but the texts, so that results are comparable.
        tables: What every sample reads, strongest first.
        progress: Told of every text read.

    Returns:
        One digest per text, over the logits of all of its positions, padding left out.
    """
    digests = [""] * len(texts)
    device = next(model.parameters()).device
    for numbers, sequences in _batches(model, tokenizer, texts):
        ids, mask = left_padded(sequences, device)
        reading = use_tables(model, [list(tables)] * len(numbers)) if tables else nullcontext()
        with reading, torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        for number, sequence, of_text in zip(numbers, sequences, logits, strict=True):
            own = of_text[len(of_text) - len(sequence) :].cpu().contiguous()  # (seq, vocab)
            digests[number] = xxhash.xxh3_128_hexdigest(own.view(torch.uint8).numpy().data)
        if progress is not None:
            progress(len(numbers))
    return digests


def measure_locality(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    base: Sequence[str],
    tables: Sequence[UserTable],
    progress: Progress | None = None,
) -> Locality:
    """Compare texts with the base while tables are read, and say where rows were read.

    Args:
        model: A patched model.
        tokenizer: The model's.
        texts: What to read.
        base: Their `logit_digests` before the model was patched.
        tables: What every sample reads.
        progress: Told of every text read.

    Returns:
        The figures.
    """
    digests = logit_digests(model, tokenizer, texts, tables, progress)
    tokens = 0
    fired = [0] * len(texts)
    for numbers, sequences in _batches(model, tokenizer, texts):
        ids, mask = left_padded(sequences, torch.device("cpu"))
        tokens += int(mask.sum())
        found = torch.zeros_like(ids, dtype=torch.bool)
        for table in tables:
            found |= find_rows(table.attachment, table.rows, ids, mask) >= 0
        for number, count in zip(numbers, found.sum(1).tolist(), strict=True):
            fired[number] = count
    same = [before == now for before, now in zip(base, digests, strict=True)]
    return Locality(
        len(texts),
        tokens,
        sum(same),
        sum(count > 0 for count in fired),
        sum(fired),
        tuple(text for text, count in zip(texts, fired, strict=True) if count),
        tuple(t for t, equal, n in zip(texts, same, fired, strict=True) if not equal and not n),
    )


def _batches(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Prompt]
) -> Iterator[tuple[list[int], list[list[int]]]]:
    """Yield batches of texts of alike length: their numbers and their ids."""
    vocab_size = next(iter(model.get_input_embeddings().parameters())).shape[0]  # pyright: ignore
    ids = [prompt_ids(tokenizer, text)[0] for text in texts]
    longest_first = sorted(range(len(texts)), key=lambda number: -len(ids[number]))
    first = 0
    while first < len(texts):
        longest = len(ids[longest_first[first]])
        count = max(1, _LOGITS_PER_BATCH // (vocab_size * longest))
        part = longest_first[first : first + count]
        yield part, [ids[number] for number in part]
        first += count
