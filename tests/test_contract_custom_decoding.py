"""The contract for ways of decoding that users bring along, as `custom_generate`.

transformers 5 has moved contrastive search, diverse and constrained beams and DoLa to the Hub. What
they do to a cache is done here: repeat each sequence, go on with all, keep some; reorder within
groups; read hidden states of earlier blocks. Each is compared with the same without a cache.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import tiny
import torch
from decoding import KINDS, PROMPTS, STEPS, frequent, generate, padded
from reference import expected_reads
from tables import LAYERS, ROW_DIM, table_along, watching
from torch import Tensor
from transformers import DynamicCache

from engram_transformers import add_engram, use_tables

Forward = Callable[[Tensor], Any]


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture(params=KINDS)
def kind(request, tokenizer):
    """A model of each kind of layers, where nothing else matters."""
    return add_engram(tiny.tiny_model(request.param), tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return add_engram(tiny_llama, tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@pytest.fixture
def prompt(tokenizer) -> list[int]:
    return tokenizer(PROMPTS[0])["input_ids"]


class Text:
    """Sequences, and a cache of all but their newest tokens, if one is used.

    Attributes:
        ids: (batch, seq) int64.
        mask: (batch, seq), of the padding.
        cache: None to read the whole text at each step.
    """

    def __init__(self, model: Any, ids: Tensor, arguments: dict[str, Any]) -> None:
        self.model = model
        self.ids = ids
        mask = arguments.get("attention_mask")  # generate() drops one without padding
        self.mask = torch.ones_like(ids) if mask is None else mask
        self.cache = arguments.get("past_key_values") if arguments["use_cache"] else None
        if self.cache is None and arguments["use_cache"]:
            self.cache = DynamicCache(config=model.config)  # before 5.1 generate() makes none

    def read(self) -> Any:
        """Run the model on what it has not read; return its output for all samples."""
        known = 0 if self.cache is None else self.cache.get_seq_length()
        positions = (self.mask.cumsum(-1) - 1).clamp_min(0)
        return self.model(
            self.ids[:, known:],
            attention_mask=self.mask,
            position_ids=positions[:, known:],
            past_key_values=self.cache,
            use_cache=self.cache is not None,
            output_hidden_states=True,
        )

    def say(self, tokens: Tensor) -> None:
        """Append one token to each sequence."""
        self.ids = torch.cat([self.ids, tokens.view(-1, 1)], dim=1)
        self.mask = torch.cat([self.mask, torch.ones_like(self.mask[:, :1])], dim=1)

    def repeat(self, times: int) -> None:
        """Put copies of each sequence behind it."""
        self.ids = self.ids.repeat_interleave(times, dim=0)
        self.mask = self.mask.repeat_interleave(times, dim=0)
        if self.cache is not None:
            self.cache.batch_repeat_interleave(times)

    def select(self, rows: Tensor) -> None:
        """Keep some sequences, each maybe several times."""
        self.ids, self.mask = self.ids[rows], self.mask[rows]
        if self.cache is not None:
            self.cache.batch_select_indices(rows)

    def reorder(self, rows: Tensor) -> None:
        """Replace sequences by others of the batch."""
        self.ids, self.mask = self.ids[rows], self.mask[rows]
        if self.cache is not None:
            self.cache.reorder_cache(rows)


def plain(model: Any, input_ids: Tensor, generation_config: Any, **arguments: Any) -> Tensor:
    """Greedy, as a loop over what `generate` hands to custom functions."""
    text = Text(model, input_ids, arguments)
    for _ in range(generation_config.max_new_tokens):
        text.say(text.read().logits[:, -1].argmax(-1))
    return text.ids


def contrastive(model: Any, input_ids: Tensor, generation_config: Any, **arguments: Any) -> Tensor:
    """Try the likeliest tokens of each sequence; keep the one least like what came before."""
    text, width = Text(model, input_ids, arguments), 4
    earlier = output = text.read()
    said = output.hidden_states[-1]
    for _ in range(generation_config.max_new_tokens):
        probability, tokens = earlier.logits[:, -1].softmax(-1).topk(width)
        text.repeat(width)
        text.say(tokens.flatten())
        output = text.read()
        new = output.hidden_states[-1][:, -1]
        before = said.repeat_interleave(width, dim=0)
        likeness = torch.cosine_similarity(before, new.unsqueeze(1), dim=-1).amax(1)
        score = 0.4 * probability - 0.6 * likeness.view(-1, width)
        best = score.argmax(-1)
        rows = torch.arange(len(best)) * width + best
        text.select(rows)
        earlier = copy.copy(output)
        earlier.logits = output.logits[rows]
        said = torch.cat([said, new[rows].unsqueeze(1)], dim=1)
    return text.ids


def diverse(model: Any, input_ids: Tensor, generation_config: Any, **arguments: Any) -> Tensor:
    """Two groups of two beams of one prompt; a group avoids what the one before it chooses."""
    text, groups, beams = Text(model, input_ids, arguments), 2, 2
    text.repeat(groups * beams)
    score = torch.tensor([0.0, float("-inf")] * groups)
    for _ in range(generation_config.max_new_tokens):
        logprobs = text.read().logits[:, -1].log_softmax(-1)
        rows, tokens, kept = [], [], []
        taken = torch.zeros(logprobs.shape[-1])
        for first in range(0, groups * beams, beams):
            total = score[first : first + beams, None] + logprobs[first : first + beams]
            _, places = (total - taken).flatten().topk(beams)
            rows.append(first + places // logprobs.shape[-1])
            tokens.append(places % logprobs.shape[-1])
            kept.append(total.flatten()[places])
            taken[tokens[-1]] += 3.0
        text.reorder(torch.cat(rows))
        text.say(torch.cat(tokens))
        score = torch.cat(kept)
    return text.ids


def early_and_late(
    model: Any, input_ids: Tensor, generation_config: Any, **arguments: Any
) -> Tensor:
    """Choose what the last block says more than an earlier one does."""
    text = Text(model, input_ids, arguments)
    head = model.get_output_embeddings()
    for _ in range(generation_config.max_new_tokens):
        output = text.read()
        early = head(output.hidden_states[2][:, -1]).log_softmax(-1)
        late = output.logits[:, -1].log_softmax(-1)
        likely = late >= late.amax(-1, keepdim=True) - 2.0
        text.say((late - early).masked_fill(~likely, float("-inf")).argmax(-1))
    return text.ids


def test_a_custom_loop_says_what_recomputation_says(kind, prompt):
    made, whole = table_along(kind, prompt, STEPS)
    with use_tables(kind, made.table):
        assert generate(kind, prompt, custom_generate=plain)[0].tolist() == whole


@pytest.mark.parametrize("way", [contrastive, diverse, early_and_late])
def test_custom_ways_of_decoding_say_the_same_with_and_without_a_cache(kind, prompt, way):
    made = frequent(kind)
    with use_tables(kind, made.table):
        said = generate(kind, prompt, custom_generate=way)
        assert torch.equal(generate(kind, prompt, custom_generate=way, use_cache=False), said)
    assert not torch.equal(generate(kind, prompt, custom_generate=way), said)


def test_candidates_of_each_sample_read_the_tables_of_their_sample(llama, tokenizer):
    """A batch of samples with tables of their own is repeated, and cut down again, at each step."""
    made = [frequent(llama, seed) for seed in range(3)]
    batch = padded(tokenizer, "left")
    options = {"attention_mask": batch.attention_mask, "custom_generate": contrastive}
    with use_tables(llama, [one.table for one in made]), watching(llama) as reads:
        said = generate(llama, batch.input_ids, **options)
    assert {found.shape[0] for found in reads.found} == {3, 12}
    for sample, one in enumerate(made):
        ids, mask = batch.input_ids[[sample]], batch.attention_mask[[sample]]
        with use_tables(llama, one.table):
            alone = generate(llama, ids, attention_mask=mask, custom_generate=contrastive)
        assert torch.equal(said[[sample]], alone)
    found, _ = expected_reads(llama, batch.input_ids, batch.attention_mask, [[one] for one in made])
    assert torch.equal(reads.found[0], found)
    assert not torch.equal(generate(llama, batch.input_ids, **options), said)
