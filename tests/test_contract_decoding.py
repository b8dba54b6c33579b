"""The contract's second half: cached decoding reads what recomputation from the full text reads.

Rows are random and large, so a row that is read at a wrong position, or not read, changes what is
said; and what the memory was given is compared with the plain-Python reader of `reference`.

Here: the ways in which `generate` chooses tokens. Each family of models takes part in what depends
on its caches and positions. Other topics: `test_contract_custom_decoding`,
`test_contract_speculation`, `test_contract_caches`, `test_contract_padding`,
`test_contract_continuous_batching`.
"""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from decoding import KINDS, PROMPTS, STEPS, assert_reads, frequent, generate, padded, with_answer
from reference import expected_reads
from tables import LAYERS, ROW_DIM, table_along, watching
from torch.testing import assert_close
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria
from transformers.generation import BaseStreamer

from engram_transformers import add_engram, use_tables


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def model(tiny_model, tokenizer):
    return add_engram(tiny_model, tokenizer, layers=LAYERS, row_dim=ROW_DIM)


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


# Greedy and sampling


def assert_greedy_reads_as_recomputation(model: Any, prompt: list[int], layer: int) -> None:
    made, whole = table_along(model, prompt, STEPS, layer=layer)
    with use_tables(model, made.table), watching(model, layer) as reads:
        output = generate(model, prompt)
    assert output[0].tolist() == whole
    assert_reads(reads, expected_reads(model, output[:, :-1], None, [[made]]), STEPS // 2)
    with use_tables(model, made.table):
        assert torch.equal(generate(model, prompt, use_cache=False), output)
    assert not torch.equal(generate(model, prompt), output)


def test_greedy_generation_reads_as_recomputation_does(model, prompt):
    assert_greedy_reads_as_recomputation(model, prompt, LAYERS[0])


def test_greedy_generation_reads_late_blocks_as_recomputation_does(kind, prompt):
    assert_greedy_reads_as_recomputation(kind, prompt, LAYERS[1])


def test_sampling_with_one_seed_says_the_same_with_and_without_a_cache(kind, prompt):
    made = frequent(kind)
    said = []
    for use_cache in (True, False):
        torch.manual_seed(7)
        with use_tables(kind, made.table), watching(kind) as reads:
            said.append(generate(kind, prompt, do_sample=True, top_k=20, use_cache=use_cache))
        if use_cache:
            expected = expected_reads(kind, said[0][:, :-1], None, [[made]])
            assert_reads(reads, expected, STEPS // 4)
    assert torch.equal(*said)
    torch.manual_seed(7)
    assert not torch.equal(generate(kind, prompt, do_sample=True, top_k=20), said[0])


def test_returned_sequences_keep_the_tables_of_their_sample(kind, tokenizer):
    made = frequent(kind)
    batch = padded(tokenizer, "left", PROMPTS[:2])
    options = {
        "attention_mask": batch.attention_mask,
        "do_sample": True,
        "num_return_sequences": 3,
    }
    torch.manual_seed(3)
    with use_tables(kind, [None, made.table]), watching(kind) as reads:
        output = generate(kind, batch.input_ids, **options)
    mask = with_answer(batch.attention_mask.repeat_interleave(3, dim=0))
    stacks = [[]] * 3 + [[made]] * 3
    assert_reads(reads, expected_reads(kind, output[:, :-1], mask, stacks), 3)
    assert len({tuple(sequence) for sequence in output[3:].tolist()}) > 1


# Beams


def test_beams_say_the_same_with_and_without_a_cache(model, tokenizer):
    one, other = frequent(model), frequent(model, 1)
    batch = padded(tokenizer, "left", PROMPTS[:2])
    options = {
        "attention_mask": batch.attention_mask,
        "num_beams": 3,
        "num_return_sequences": 2,
        "return_dict_in_generate": True,
        "output_scores": True,
    }
    stacks = [[one.table], [other.table, one.table]]
    with use_tables(model, stacks):
        cached = generate(model, batch.input_ids, **options)
    plain = generate(model, batch.input_ids, **options)
    for sample, stack in enumerate(stacks):
        both = slice(2 * sample, 2 * sample + 2)
        options["attention_mask"] = batch.attention_mask[[sample]]
        # The same stack for each beam: without a cache, copies of a sample can't be told apart.
        with use_tables(model, [stack] * 3):
            alone = generate(model, batch.input_ids[[sample]], use_cache=False, **options)
        assert torch.equal(cached.sequences[both], alone.sequences)
        assert_close(cached.sequences_scores[both], alone.sequences_scores, rtol=1e-4, atol=1e-4)
        assert not torch.equal(cached.sequences[both], plain.sequences[both])


def test_sampled_beams_say_the_same_with_and_without_a_cache(llama, tokenizer):
    made = frequent(llama)
    batch = padded(tokenizer, "left", PROMPTS[:2])
    options = {
        "attention_mask": batch.attention_mask,
        "do_sample": True,
        "num_beams": 3,
        "num_return_sequences": 2,
    }
    said = []
    for table, use_cache in ((made.table, True), (made.table, False), (None, True)):
        torch.manual_seed(1)
        with use_tables(llama, table):
            said.append(generate(llama, batch.input_ids, use_cache=use_cache, **options))
    assert torch.equal(said[0], said[1])
    assert not torch.equal(said[0], said[2])


def test_constrained_beams_say_the_same_with_and_without_a_cache(llama, prompt):
    """As far as the installed transformers offers them: `prefix_allowed_tokens_fn`."""
    made = frequent(llama)
    allowed = [list(range(20, 120)), list(range(120, 300))]
    options = {
        "num_beams": 3,
        "prefix_allowed_tokens_fn": lambda _, ids: allowed[ids.shape[0] % 2],
    }
    with use_tables(llama, made.table):
        said = generate(llama, prompt, **options)
        assert torch.equal(generate(llama, prompt, use_cache=False, **options), said)
    assert all(said[0, place] in allowed[place % 2] for place in range(len(prompt), said.shape[1]))
    assert not torch.equal(generate(llama, prompt, **options), said)


# What takes part in the choice


@pytest.mark.parametrize("given", [False, True])
def test_guidance_reads_the_history_of_its_unconditional_text(kind, prompt, tokenizer, given):
    """Each step runs the kind twice, on two texts with a cache each."""
    made = frequent(kind)
    negative, options = prompt[-1:], {"guidance_scale": 1.5}
    if given:
        negative = tokenizer("The river opens at seven in the")["input_ids"]
        options["negative_prompt_ids"] = torch.tensor([negative])
    with use_tables(kind, made.table):
        with watching(kind) as reads:
            said = generate(kind, prompt, **options)
        assert torch.equal(generate(kind, prompt, use_cache=False, **options), said)
    answer = said[0, len(prompt) : -1].tolist()
    for first, text in enumerate((prompt, negative)):
        part = type(reads)(reads.found[first::2], reads.rows[first::2])
        expected = expected_reads(kind, torch.tensor([text + answer]), None, [[made]])
        assert_reads(part, expected)
    assert not torch.equal(generate(kind, prompt, **options), said)


class NothingTwice(LogitsProcessor):
    """Forbid every token that the text has."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.scatter(1, input_ids, float("-inf"))


def test_logits_processors_see_the_same_with_and_without_a_cache(llama, prompt):
    made = frequent(llama)
    options = {"logits_processor": LogitsProcessorList([NothingTwice()]), "repetition_penalty": 1.1}
    with use_tables(llama, made.table), watching(llama) as reads:
        said = generate(llama, prompt, **options)
    assert_reads(reads, expected_reads(llama, said[:, :-1], None, [[made]]), STEPS // 4)
    with use_tables(llama, made.table):
        assert torch.equal(generate(llama, prompt, use_cache=False, **options), said)
    answer = said[0, len(prompt) :].tolist()
    assert len(set(answer)) == STEPS
    assert not torch.equal(generate(llama, prompt, **options), said)


def test_samples_that_stop_early_leave_the_others_as_they_are(kind, tokenizer):
    """The stopped ones go on as padding tokens, which nobody reads the answer of."""
    made = [frequent(kind, seed) for seed in range(3)]
    tables = [one.table for one in made]
    batch = padded(tokenizer, "left")
    width = batch.input_ids.shape[1]
    with use_tables(kind, tables):
        whole = generate(kind, batch.input_ids, attention_mask=batch.attention_mask)
        stop = int(whole[1, width + 2])
        said = generate(
            kind,
            batch.input_ids,
            attention_mask=batch.attention_mask,
            eos_token_id=stop,
        )
    lengths = []
    for sample, line in enumerate(whole[:, width:].tolist()):
        lengths.append(line.index(stop) + 1 if stop in line else STEPS)
        expected = line[: lengths[-1]]
        assert said[sample, width:].tolist() == (expected + [2] * STEPS)[: said.shape[1] - width]
    assert min(lengths) < max(lengths)
    bare = generate(kind, batch.input_ids, attention_mask=batch.attention_mask)
    assert all(not torch.equal(*pair) for pair in zip(bare, whole, strict=True))


class Until(StoppingCriteria):
    """Stop when a text has some length."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full(input_ids.shape[:1], input_ids.shape[1] >= self.length)


def test_stopping_criteria_see_the_text_of_recomputation(llama, prompt):
    made, whole = table_along(llama, prompt, STEPS)
    length = len(prompt) + 5
    with use_tables(llama, made.table):
        said = generate(llama, prompt, stopping_criteria=[Until(length)])
    assert said[0].tolist() == whole[:length]
    assert generate(llama, prompt, stopping_criteria=[Until(length)])[0].tolist() != whole[:length]


# What comes out


class Pieces(BaseStreamer):
    """Keep what is streamed."""

    def __init__(self) -> None:
        self.pieces: list[list[int]] = []
        self.ended = False

    def put(self, value: torch.Tensor) -> None:
        self.pieces.append(value.flatten().tolist())

    def end(self) -> None:
        self.ended = True


def test_streamed_tokens_are_those_of_recomputation(llama, prompt):
    made, whole = table_along(llama, prompt, STEPS)
    streamer = Pieces()
    with use_tables(llama, made.table):
        generate(llama, prompt, streamer=streamer)
    assert streamer.ended
    assert len(streamer.pieces) == STEPS + 1
    assert [token for piece in streamer.pieces for token in piece] == whole


def test_returned_logits_and_hidden_states_are_those_of_recomputation(kind, prompt):
    made, whole = table_along(kind, prompt, STEPS)
    options = {
        "return_dict_in_generate": True,
        "output_logits": True,
        "output_hidden_states": True,
    }
    with use_tables(kind, made.table), torch.no_grad():
        said = generate(kind, prompt, **options)
        full = kind(torch.tensor([whole]), use_cache=False, output_hidden_states=True)
    assert said.sequences[0].tolist() == whole
    steps = slice(len(prompt) - 1, -1)
    logits = torch.cat(said.logits)
    assert_close(logits, full.logits[0, steps], rtol=1e-4, atol=1e-4)
    for block, expected in enumerate(full.hidden_states):
        seen = torch.cat([step[block][0, -1:] for step in said.hidden_states])
        assert_close(seen, expected[0, steps], rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        bare = kind(torch.tensor([whole])).logits[0, steps]
    assert not torch.allclose(logits, bare, atol=0.1)
    assert said.past_key_values.get_seq_length() == len(whole) - 1
