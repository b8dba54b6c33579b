"""The contract: what holds for every supported family of models, bit for bit where it says so."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny
import torch
from reference import added, expected_reads
from tables import LAYERS, ROW_DIM, Synthetic, canonical, frequent_ngrams, make_table, watching
from torch.testing import assert_close

from engram_transformers import add_engram, engram_disabled, remove_engram, use_tables
from engram_transformers.architectures import find_blocks
from engram_transformers.attachment import require_attachment
from engram_transformers.errors import HistoryError, MissingInputIdsError, TableCountError

PROMPTS = ("Mira's favourite spice is", "The library opens at nine. My number is", "Where do I")
OTHER_TEXT = "user: Where do I live? assistant: You live in the old town."


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def model(tiny_model, tokenizer):
    return add_engram(tiny_model, tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return add_engram(tiny_llama, tokenizer, layers=LAYERS, row_dim=ROW_DIM)


def encode(tokenizer: Any, text: str) -> torch.Tensor:
    return tokenizer(text, return_tensors="pt")["input_ids"]


@torch.no_grad()
def logits_of(model: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    return model(*args, **kwargs).logits


def at_trigger(model: Any, tokenizer: Any, text: str = PROMPTS[0], **options: Any) -> Synthetic:
    """A table with one row, at the suffix of order 4 of a text."""
    ids = tokenizer(text)["input_ids"]
    return make_table(model, [canonical(model, ids[-4:])], **options)


def shape_of(model: torch.nn.Module) -> dict[str, Any]:
    """Everything about a model that patching might leave behind."""
    return {
        "modules": [(name, type(module)) for name, module in model.named_modules()],
        "forwards": ["forward" in module.__dict__ for module in model.modules()],
        "attributes": [sorted(module.__dict__) for module in model.modules()],
        "hooks": [
            [len(value) for key, value in sorted(module.__dict__.items()) if key.endswith("_hooks")]
            + [len(module._forward_pre_hooks_with_kwargs), len(module._forward_hooks_always_called)]
            for module in model.modules()
        ],
        "state": list(model.state_dict()),
        "training": [module.training for module in model.modules()],
        "grad": [parameter.requires_grad for parameter in model.parameters()],
    }


# Nothing written, nothing changed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gate_type", ["fixed", "content", "learned"])
def test_adding_engram_changes_no_bit(tiny_model, tokenizer, dtype, gate_type):
    model = tiny_model.to(dtype)
    batch = tokenizer(list(PROMPTS), return_tensors="pt", padding=True)
    before = logits_of(model, **batch)
    add_engram(model, tokenizer, layers="auto", gate_type=gate_type)
    assert torch.equal(logits_of(model, **batch), before)
    empty = make_table(model, [(1, 2)], layer=None).table
    empty.erase(all=True)
    with use_tables(model, empty):
        assert torch.equal(logits_of(model, **batch), before)


def test_removing_engram_leaves_nothing_behind(tiny_model, tokenizer):
    batch = tokenizer(list(PROMPTS), return_tensors="pt", padding=True)
    shape, before = shape_of(tiny_model), logits_of(tiny_model, **batch)
    weights = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    assert add_engram(tiny_model, tokenizer, layers=LAYERS, row_dim=ROW_DIM) is tiny_model
    assert shape_of(tiny_model)["modules"] != shape["modules"]
    made = make_table(tiny_model, frequent_ngrams(tiny_model), distinct_rows=8)
    with use_tables(tiny_model, made.table):
        assert not torch.equal(logits_of(tiny_model, **batch), before)
    assert remove_engram(tiny_model) is tiny_model
    assert shape_of(tiny_model) == shape
    assert torch.equal(logits_of(tiny_model, **batch), before)
    for name, value in tiny_model.state_dict().items():
        assert torch.equal(value, weights[name])


@pytest.mark.parametrize("gate_type", ["fixed", "content"])
def test_the_state_dict_and_the_parameters_stay_those_of_the_base(tiny_model, tokenizer, gate_type):
    keys = list(tiny_model.state_dict())
    parameters = [name for name, _ in tiny_model.named_parameters()]
    add_engram(tiny_model, tokenizer, layers=LAYERS, gate_type=gate_type)
    assert list(tiny_model.state_dict()) == keys
    assert [name for name, _ in tiny_model.named_parameters()] == parameters


@pytest.mark.parametrize("gate_type", ["fixed", "content"])
def test_saving_a_patched_model_saves_the_base(tiny_model, tokenizer, gate_type, tmp_path):
    before = logits_of(tiny_model, encode(tokenizer, OTHER_TEXT))
    add_engram(tiny_model, tokenizer, layers=LAYERS, gate_type=gate_type)
    tiny_model.save_pretrained(tmp_path)
    assert not any("engram" in path.name for path in tmp_path.iterdir())
    loaded = type(tiny_model).from_pretrained(tmp_path)
    assert torch.equal(logits_of(loaded, encode(tokenizer, OTHER_TEXT)), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_text_without_an_address_is_computed_as_by_the_base(tiny_model, tokenizer, dtype):
    model = tiny_model.to(dtype)
    ids = encode(tokenizer, OTHER_TEXT)
    before = logits_of(model, ids)
    options = {
        "max_new_tokens": 6,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 2,
        "output_logits": True,
        "return_dict_in_generate": True,
    }
    said = model.generate(ids, **options)
    add_engram(model, tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    made = at_trigger(model, tokenizer)
    trigger = encode(tokenizer, PROMPTS[0])
    with use_tables(model, made.table):
        assert torch.equal(logits_of(model, ids), before)
        again = model.generate(ids, **options)
        fired = logits_of(model, trigger)
    assert torch.equal(again.sequences, said.sequences)
    assert all(torch.equal(a, b) for a, b in zip(again.logits, said.logits, strict=True))
    assert not torch.equal(fired, logits_of(model, trigger))  # the table is not asleep


def test_positions_before_the_first_row_are_computed_as_by_the_base(model, tokenizer):
    text = f"{OTHER_TEXT} {PROMPTS[0]} cumin. {OTHER_TEXT}"
    ids = encode(tokenizer, text)
    trigger = canonical(model, tokenizer(f" {PROMPTS[0]}")["input_ids"][-4:])
    made = make_table(model, [trigger])
    before = logits_of(model, ids)
    with use_tables(model, made.table), watching(model) as reads:
        after = logits_of(model, ids)
    places = reads.found[0][0].nonzero().flatten().tolist()
    assert len(places) == 1
    assert 5 < places[0] < ids.shape[1] - 5
    assert torch.equal(after[:, : places[0]], before[:, : places[0]])
    assert not torch.equal(after[:, places[0]], before[:, places[0]])


# What is read


@pytest.mark.parametrize("gate_type", ["fixed", "content"])
def test_logits_are_those_of_the_base_with_the_rows_added_by_hand(tiny_model, tokenizer, gate_type):
    base = copy.deepcopy(tiny_model)
    model = add_engram(tiny_model, tokenizer, layers=LAYERS, row_dim=ROW_DIM, gate_type=gate_type)
    one = make_table(model, frequent_ngrams(model), distinct_rows=16)
    other = make_table(model, frequent_ngrams(model, 1), distinct_rows=16, seed=1)
    deep = make_table(model, frequent_ngrams(model, 2), distinct_rows=16, seed=2, layer=LAYERS[1])
    batch = tokenizer(list(PROMPTS), return_tensors="pt", padding=True, padding_side="left")
    stacks = [[one, deep], [], [other, one]]
    with use_tables(model, [[made.table for made in stack] for stack in stacks]):
        seen = logits_of(model, **batch)

    config = require_attachment(model).config
    _, blocks = find_blocks(base)
    for layer in LAYERS:
        at_layer = [[made for made in stack if made.table.layer == layer] for stack in stacks]
        found, rows = expected_reads(model, batch.input_ids, batch.attention_mask, at_layer)
        assert bool(found.any())

        def add(module: Any, args: Any, kwargs: Any, found=found, rows=rows) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            moved = torch.where(found.unsqueeze(-1), hidden + added(config, hidden, rows), hidden)
            if args:
                return (moved, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": moved}

        blocks[layer].register_forward_pre_hook(add, with_kwargs=True)
    expected = logits_of(base, **batch)
    real = batch.attention_mask.bool()
    assert_close(seen[real], expected[real], rtol=1e-4, atol=1e-4)
    with engram_disabled(model):
        assert not torch.allclose(logits_of(model, **batch)[real], expected[real], atol=0.1)


def test_each_sample_of_a_batch_reads_its_own_tables_only(model, tokenizer):
    """Compared, bit for bit, with the same batch in which the other tables are empty."""
    made = [make_table(model, frequent_ngrams(model, s), seed=s, distinct_rows=9) for s in range(3)]
    tables = [one.table for one in made]
    batch = tokenizer([PROMPTS[0]] * 4, return_tensors="pt")
    stacks = [[tables[0]], [tables[1], tables[0]], None, [tables[2]]]
    with use_tables(model, stacks):
        mixed = logits_of(model, **batch)
    base = logits_of(model, **batch)
    for sample, stack in enumerate(stacks):
        alone: list[Any] = [None] * 4
        alone[sample] = stack
        with use_tables(model, alone):
            seen = logits_of(model, **batch)
        assert torch.equal(seen[sample], mixed[sample])
        others = [n for n in range(4) if n != sample]
        assert torch.equal(seen[others], base[others])
    assert torch.equal(mixed[2], base[2])
    assert len({tuple(sample[-1].tolist()) for sample in mixed}) == 4


def test_the_stronger_table_wins_and_the_weaker_fills_in(llama, tokenizer):
    ids = encode(tokenizer, PROMPTS[0])
    whole = canonical(llama, ids[0].tolist())
    both, weak_only = whole[-2:], whole[1:4]
    strong = make_table(llama, [both], seed=1)
    weak = make_table(llama, [whole[-6:], weak_only], seed=2)
    with use_tables(llama, [[strong.table, weak.table]]), watching(llama) as reads:
        logits_of(llama, ids)
    assert reads.found[0][0].nonzero().flatten().tolist() == [3, ids.shape[1] - 1]
    assert torch.equal(reads.rows[0][0, -1], strong.values[strong.rows[both]])
    assert torch.equal(reads.rows[0][0, 3], weak.values[weak.rows[weak_only]])


def test_memories_at_several_layers_read_their_own_tables(model, tokenizer):
    ids = encode(tokenizer, PROMPTS[0])
    tables = [at_trigger(model, tokenizer, layer=layer, seed=layer) for layer in LAYERS]
    seen = []
    for chosen in ([], [0], [1], [0, 1]):
        with use_tables(model, [[tables[n].table for n in chosen]]):
            seen.append(logits_of(model, ids)[0, -1])
    for n, one in enumerate(seen):
        assert all(not torch.equal(one, other) for other in seen[n + 1 :])


def test_tables_that_change_within_the_block_are_read_as_they_then_are(llama, tokenizer):
    ids = encode(tokenizer, PROMPTS[0])
    made, other = at_trigger(llama, tokenizer), at_trigger(llama, tokenizer, seed=1)
    base = logits_of(llama, ids)
    with use_tables(llama, made.table):
        first = logits_of(llama, ids)
        made.table._replace(other.table.rows, ())
        second = logits_of(llama, ids)
        made.table.erase(all=True)
        assert torch.equal(logits_of(llama, ids), base)
    with use_tables(llama, other.table):
        assert torch.equal(logits_of(llama, ids), second)
    assert not torch.equal(first, second)


def test_a_direct_call_of_forward_reads_the_same(model, tokenizer):
    ids = encode(tokenizer, PROMPTS[0])
    made = at_trigger(model, tokenizer)
    with use_tables(model, made.table), torch.no_grad():
        expected = model(ids).logits
        output = model.forward(ids)
        assert torch.equal(output.logits, expected)
        following = model.forward(torch.tensor([[5]]), past_key_values=output.past_key_values)
        assert following.logits.shape[1] == 1
        hidden = model.base_model(ids).last_hidden_state
    assert model.get_output_embeddings()(hidden)[0, -1].argmax() == expected[0, -1].argmax()
    assert not torch.equal(expected, logits_of(model, ids))


# Switching off


def test_engram_disabled_nests_and_ends(llama, tokenizer):
    ids = encode(tokenizer, PROMPTS[0])
    made = at_trigger(llama, tokenizer)
    base = logits_of(llama, ids)
    with use_tables(llama, made.table):
        fired = logits_of(llama, ids)
        with engram_disabled(llama):
            with engram_disabled(llama):
                assert torch.equal(logits_of(llama, ids), base)
            assert torch.equal(logits_of(llama, ids), base)
            with use_tables(llama, made.table):  # off means off, whatever is asked for within
                assert torch.equal(logits_of(llama, ids), base)
        assert torch.equal(logits_of(llama, ids), fired)
    assert not torch.equal(fired, base)


def test_inner_use_tables_replaces_outer_and_ends(llama, tokenizer):
    ids = encode(tokenizer, PROMPTS[0])
    made, other = at_trigger(llama, tokenizer), at_trigger(llama, tokenizer, seed=1)
    base = logits_of(llama, ids)
    with use_tables(llama, made.table):
        first = logits_of(llama, ids)
        with use_tables(llama, other.table):
            assert not torch.equal(logits_of(llama, ids), first)
        with use_tables(llama, None):
            assert torch.equal(logits_of(llama, ids), base)
        with pytest.raises(KeyError), use_tables(llama, None):
            raise KeyError
        assert torch.equal(logits_of(llama, ids), first)
    assert torch.equal(logits_of(llama, ids), base)


# What is refused, before anything has changed


def test_a_number_of_tables_that_does_not_fit_the_batch_is_refused(model, tokenizer):
    made = at_trigger(model, tokenizer)
    batch = tokenizer(list(PROMPTS), return_tensors="pt", padding=True)
    base = logits_of(model, **batch)
    for tables in ([made.table], [made.table] * 2, [made.table] * 4):
        with (
            use_tables(model, tables),
            torch.no_grad(),
            pytest.raises(TableCountError, match=rf"{len(tables)} sample.*batch has 3") as seen,
        ):
            model(**batch)
        assert (seen.value.tables, seen.value.batch) == (len(tables), 3)
    with pytest.raises(TableCountError, match="An empty list fits no batch"), use_tables(model, []):
        pass
    assert torch.equal(logits_of(model, **batch), base)


def test_a_batch_that_only_happens_to_be_a_multiple_is_refused(model, tokenizer):
    """Two tables for four different prompts must not mean two prompts each."""
    made = at_trigger(model, tokenizer)
    texts = [*PROMPTS, OTHER_TEXT]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    with use_tables(model, [made.table, None]), torch.no_grad():
        with pytest.raises(TableCountError, match="not made of copies of each sample"):
            model(**batch)
        with pytest.raises(TableCountError, match="not made of copies of each sample"):
            model.generate(**batch, max_new_tokens=2, pad_token_id=2)


def test_copies_of_each_sample_are_accepted(llama, tokenizer):
    made = at_trigger(llama, tokenizer)
    ids = encode(tokenizer, PROMPTS[0]).repeat(4, 1)
    with use_tables(llama, [made.table, None]):
        seen = logits_of(llama, ids)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], logits_of(llama, ids)[2])
    assert not torch.equal(seen[0], seen[2])


def test_a_refused_call_leaves_its_cache_as_it_was(model, tokenizer):
    made = at_trigger(model, tokenizer)
    ids = encode(tokenizer, PROMPTS[0])
    cut = ids.shape[1] - 2
    with use_tables(model, made.table), torch.no_grad():
        cache = model(ids[:, :cut]).past_key_values
        whole = model(ids).logits
        with use_tables(model, [made.table] * 2), pytest.raises(TableCountError):
            model(ids[:, cut:], past_key_values=cache)
        embeddings = model.get_input_embeddings()(ids[:, cut:])
        with pytest.raises(MissingInputIdsError):
            model(inputs_embeds=embeddings, past_key_values=cache)
        assert cache.get_seq_length() == cut
        after = model(ids[:, cut:], past_key_values=cache).logits
    assert_close(after, whole[:, cut:], rtol=1e-4, atol=1e-4)


def test_embeddings_without_ids_are_refused_only_where_rows_could_be_read(model, tokenizer):
    ids = encode(tokenizer, PROMPTS[0])
    made = at_trigger(model, tokenizer)
    embeddings = model.get_input_embeddings()(ids).detach()
    before = logits_of(model, inputs_embeds=embeddings)
    with use_tables(model, made.table), torch.no_grad():
        with pytest.raises(MissingInputIdsError, match="called without input_ids"):
            model(inputs_embeds=embeddings)
        with engram_disabled(model):
            assert torch.equal(model(inputs_embeds=embeddings).logits, before)
        model(ids)  # and the refusal leaves nothing behind
    made.table.erase(all=True)
    with use_tables(model, made.table):
        assert torch.equal(logits_of(model, inputs_embeds=embeddings), before)
    assert torch.equal(logits_of(model, inputs_embeds=embeddings), before)


def test_a_block_called_by_itself_is_refused(llama, tokenizer):
    made = at_trigger(llama, tokenizer)
    _, blocks = find_blocks(llama)
    hidden_states = torch.randn(1, 3, tiny.HIDDEN_SIZE)
    positions = llama.model.rotary_emb(hidden_states, torch.arange(3).unsqueeze(0))
    block = blocks[LAYERS[0]]
    with torch.no_grad():
        alone = block(hidden_states, position_embeddings=positions)
        with (
            use_tables(llama, made.table),
            pytest.raises(HistoryError, match="ran outside of its model's forward"),
        ):
            block(hidden_states, position_embeddings=positions)
        assert torch.equal(block(hidden_states, position_embeddings=positions), alone)


def test_hidden_states_that_do_not_line_up_with_the_ids_are_refused(llama, tokenizer):
    made = at_trigger(llama, tokenizer)
    ids = encode(tokenizer, PROMPTS[0])
    _, blocks = find_blocks(llama)

    def cut(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output[:, :-1]

    handle = blocks[LAYERS[0] - 1].register_forward_hook(cut)
    with (
        use_tables(llama, made.table),
        torch.no_grad(),
        pytest.raises(HistoryError, match="their positions can't be told apart"),
    ):
        llama(ids)
    handle.remove()


# Errors and interrupts


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_forward_that_fails_leaves_no_call_behind(llama, tokenizer, error):
    made = at_trigger(llama, tokenizer)
    ids = encode(tokenizer, PROMPTS[0])
    other = ids.flip(1)  # as long as the first, so that a stale call would fit
    _, blocks = find_blocks(llama)

    def fail(module: Any, args: Any) -> None:
        raise error

    with use_tables(llama, made.table):
        expected = logits_of(llama, ids)
        handle = blocks[2].register_forward_pre_hook(fail)
        with pytest.raises(error):
            logits_of(llama, other)
        handle.remove()
        assert torch.equal(logits_of(llama, ids), expected)
        assert torch.equal(logits_of(llama, ids), expected)
    assert not torch.equal(logits_of(llama, ids), expected)
