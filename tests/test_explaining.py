"""What `explain` says is what a forward with `use_tables` does."""

import copy
import dataclasses
import threading

import pytest
import tiny
import torch
from explain_cases import CHAT, FACTS, ORGANISATION, TEXT, decoded, memory_reads
from patched import patched
from tables import LAYERS, canonical, frequent_ngrams, make_table
from zoo import species

from engram_transformers import (
    Explanation,
    Fact,
    UserTable,
    add_engram,
    engram_disabled,
    explain,
    explaining,
    use_tables,
)
from engram_transformers.attachment import require_attachment
from engram_transformers.errors import (
    ConfigError,
    DamagedPatchError,
    NotPatchedError,
    TableCountError,
    TableMismatchError,
)


@pytest.fixture(scope="module")
def written():
    """A model with memories at two layers, and tables of two owners."""
    model, tokenizer = tiny.tiny_model("llama"), tiny.tiny_tokenizer()
    add_engram(model, tokenizer, layers=LAYERS, gate_type="content", row_dim=64)
    ilse = UserTable(model, "ilse")
    assert ilse.write(FACTS, stop=".", context="shortest").recalled == 1
    firm = UserTable(model, "firm", layer=LAYERS[0])
    assert firm.write(ORGANISATION, context="shortest").recalled == 1
    return model, tokenizer, ilse, firm


def only(explanation):
    (sequence,) = explanation.sequences
    return sequence


def state_of(model):
    """Return what must be the same after an explanation."""
    hooks = [
        (len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()
    ]
    return hooks, [module.training for module in model.modules()], list(model.__dict__)


# It is the truth


@pytest.mark.parametrize("gate_type", ["fixed", "content", "learned"])
@pytest.mark.parametrize("name", [
    "LlamaForCausalLM", "GPT2LMHeadModel", "MambaForCausalLM", "Qwen4ExpForCausalLM",
    "Gemma3nForCausalLM", "DeepseekV4ForCausalLM",
])  # fmt: skip
def test_firings_are_what_the_memories_were_given_and_added(name, gate_type):
    if name not in species():
        pytest.skip(f"transformers has no {name}")
    model = patched(species()[name].build(), tiny.tiny_tokenizer(), gate_type=gate_type)
    first = make_table(model, frequent_ngrams(model, 1), owner="ann", distinct_rows=9).table
    second = make_table(model, frequent_ngrams(model, 2), owner="bob", seed=2, layer=None).table
    ids = torch.randint(5, 300, (2, 40), generator=torch.Generator().manual_seed(3))
    tables = [[second, first], first]
    with memory_reads(model) as expected, use_tables(model, tables), torch.no_grad():
        model(input_ids=ids)
    explanation = explain(model, ids, tables)
    seen = {
        (firing.layer, number, firing.position): firing
        for number, sequence in enumerate(explanation)
        for firing in sequence.firings
    }
    assert set(seen) == set(expected)
    assert len(seen) > 10
    by_owner = {"ann": first, "bob": second}
    for place, (row, gate, added, hidden) in expected.items():
        firing = seen[place]
        table = by_owner[firing.owner]
        assert torch.equal(table.rows.values[firing.row], row)
        position = table.rows.addresses.tolist().index(firing.address)
        assert table.rows.row_index[position] == firing.row
        assert (firing.gate, firing.added, firing.hidden) == pytest.approx((gate, added, hidden))
        assert (firing.gate == 1) is (gate_type == "fixed")


def test_the_logits_explained_are_those_of_a_forward_with_the_tables(written):
    model, tokenizer, ilse, firm = written
    inputs = tokenizer(TEXT, return_tensors="pt")
    tables = [[ilse, firm]]
    with torch.no_grad():
        bare = model(**inputs).logits
        with use_tables(model, tables):
            fired = model(**inputs).logits
    seen = []
    handle = model.register_forward_hook(lambda module, args, output: seen.append(output.logits))
    sequence = only(explain(model, inputs, tables))
    handle.remove()
    assert sorted(torch.equal(logits, fired) for logits in seen) == [False, True]
    assert sorted(torch.equal(logits, bare) for logits in seen) == [False, True]
    differ = (bare != fired).any(-1)[0]
    assert sequence.changed == tuple(differ.nonzero().flatten().tolist())
    assert [c.position for c in sequence.changes] == sorted(
        {f.position for f in sequence.firings} | {len(sequence.tokens) - 1}
    )
    for change in sequence.changes:
        for logits, listed, side in (
            (bare, change.before, "before"),
            (fired, change.after, "after"),
        ):
            row = logits[0, change.position]
            top = row.topk(5)
            assert [token.token_id for token in listed] == top.indices.tolist()
            for rank, token in enumerate(listed, 1):
                assert getattr(token, f"logit_{side}") == row[token.token_id].item()
                share = torch.softmax(row, -1)[token.token_id].item()
                assert getattr(token, f"probability_{side}") == pytest.approx(share)
                assert getattr(token, f"rank_{side}") == rank
                assert token.token == tokenizer.decode([token.token_id])


def test_a_text_in_which_nothing_fires_changes_nothing(written):
    model, _, ilse, firm = written
    sequence = only(explain(model, "The harbour opens at seven.", [[ilse, firm]]))
    assert (sequence.firings, sequence.changes, sequence.changed) == ((), (), ())
    assert "".join(sequence.tokens) == "The harbour opens at seven."


def test_without_tables_nothing_fires(written):
    model, _, ilse, _ = written
    for tables in (None, [None], [[]]):
        assert explain(model, TEXT, tables).firings == ()
    with engram_disabled(model):  # as a forward with tables would do there
        assert explain(model, TEXT, ilse).changes == ()
    empty = UserTable(model, "nobody")
    assert explain(model, TEXT, empty).firings == ()


def test_tables_around_it_don_t_count(written):
    model, _, ilse, firm = written
    expected = explain(model, TEXT, ilse)
    with use_tables(model, firm):
        assert explain(model, TEXT, ilse) == expected
        assert explain(model, TEXT, None).changes == ()


# Whose, and which


def test_rows_fire_at_the_trigger_and_along_the_answer(written):
    model, tokenizer, ilse, _ = written
    sequence = only(explain(model, TEXT, ilse))
    start = len(tokenizer(TEXT[: TEXT.index(" 4471")]).input_ids) - 1
    parts = len(tokenizer(" 4471.").input_ids)
    code = [firing for firing in sequence.firings if firing.fact == FACTS[0]]
    assert [firing.position for firing in code] == list(range(start, start + parts))
    assert [firing.part for firing in code] == list(range(parts))
    assert {firing.parts for firing in code} == {parts}
    assert "".join(firing.target for firing in code) == " 4471."
    assert all(firing.token == sequence.tokens[firing.position] for firing in sequence.firings)
    assert all(firing.order in ilse.rows.orders for firing in code)
    assert all(firing.is_whole for firing in code)
    assert {firing.prompt for firing in code} == {FACTS[0].prompt}
    assert {(firing.owner, firing.layer) for firing in code} == {("ilse", LAYERS[1])}


def test_every_layer_is_reported(written):
    model, _, ilse, firm = written
    sequence = only(explain(model, TEXT, [[ilse, firm]]))
    assert sequence.layers == tuple(LAYERS)
    assert sequence.owners == ("ilse", "firm")
    both = [
        firing for firing in sequence.firings if firing.position == sequence.firings[0].position
    ]
    assert [(firing.layer, firing.owner) for firing in both] == [
        (LAYERS[0], "firm"),
        (LAYERS[1], "ilse"),
    ]
    assert [firing.place for firing in both] == [1, 0]
    order = [(firing.position, firing.layer) for firing in sequence.firings]
    assert order == sorted(order)


def test_rows_that_lose_are_named_with_the_strongest_first(tiny_llama, tiny_tokenizer):
    model = patched(tiny_llama, tiny_tokenizer)
    ids = tiny_tokenizer(TEXT)["input_ids"]
    end = canonical(model, ids)
    weak = make_table(model, [end[-9:], end[-2:]], owner="weak", seed=1).table
    strong = make_table(model, [end[-5:], end[-3:]], owner="strong", seed=2).table
    other = make_table(model, [end[-4:]], owner="elsewhere", seed=3, layer=LAYERS[1]).table
    sequence = only(explain(model, ids, [[strong, weak, other]]))
    first, second = sequence.firings
    assert (first.layer, first.owner, first.order, first.place) == (LAYERS[0], "strong", 5, 0)
    lost = [(row.owner, row.order, row.place) for row in first.shadowed]
    assert lost == [("strong", 3, 0), ("weak", 9, 1), ("weak", 2, 1)]
    assert (second.layer, second.owner, second.shadowed) == (LAYERS[1], "elsewhere", ())
    assert only(explain(model, ids, [[weak, strong]])).firings[0].order == 9


def test_facts_that_share_a_row_are_told_apart_by_their_addresses(written):
    model, _, ilse, _ = written
    stops = {}
    for fact in FACTS[:2]:
        sequence = only(explain(model, f"{fact.prompt} {fact.answer}.", ilse))
        (stop,) = (f for f in sequence.firings if f.part == f.parts - 1)
        assert (stop.fact, stop.target) == (fact, ".")
        stops[fact] = stop
    one, other = stops.values()
    assert one.row == other.row  # a stop is the same row in all facts of a table
    assert one.address != other.address


def test_the_wording_that_stands_in_the_text_is_named(written):
    model, _, ilse, _ = written
    fact = FACTS[1]
    for prompt in fact.prompts:
        sequence = only(explain(model, prompt, ilse))
        (last,) = (f for f in sequence.firings if f.position == len(sequence.tokens) - 1)
        assert (last.fact, last.prompt, last.is_whole) == (fact, prompt, True), prompt


def test_a_wording_is_named_behind_a_space_too(written):
    """Where the tokenizer cuts it otherwise, it has addresses of its own."""
    model, tokenizer, _, _ = written
    table = UserTable(model, "ilse")
    fact = Fact("opens is", "4", ("ar is",))
    assert table.write(fact).recalled == 1
    for prompt in fact.prompts:
        alone, behind = tokenizer(prompt)["input_ids"], tokenizer(f" {prompt}")["input_ids"]
        assert alone != behind
        for text in (prompt, f"So: {prompt}"):
            last = only(explain(model, text, table)).firings[-1]
            assert (last.fact, last.prompt, last.is_whole) == (fact, prompt, True)


def test_two_wordings_of_one_address_are_told_apart_by_the_text(written):
    model, _, _, _ = written
    table = UserTable(model, "ilse")
    fact = Fact("My old locker code is", "4471", paraphrases=("The new locker code is",))
    assert table.write(fact, context="shortest").recalled == 1
    for prompt in fact.prompts:
        (firing,) = explain(model, prompt, table).firings
        assert (firing.prompt, firing.is_whole) == (prompt, True)
    (firing,) = explain(model, "Her new locker code is", table).firings
    assert (firing.prompt, firing.is_whole) == (fact.prompts[1], False)
    assert firing.order <= firing.agreeing < firing.length


def test_a_fact_with_the_same_address_is_not_kept_back(written):
    model, _, ilse, _ = written
    table = copy.copy(ilse).bind(model)
    twin = Fact("My Locker code is", "4471")  # spelt otherwise, the same address
    same = dataclasses.replace(table.entries[0], fact=twin)
    table._replace(table.rows, (*table.entries, same))
    (firing,) = explain(model, "My locker code is", table).firings
    assert (firing.fact, firing.shared_with) == (FACTS[0], (twin,))


def test_a_table_without_texts_still_says_owner_and_order(written):
    model, _, ilse, _ = written
    mute = ilse.reading(ilse.rows)
    known, unknown = explain(model, TEXT, ilse).firings, explain(model, TEXT, mute).firings
    assert len(known) == len(unknown) > 0
    for one, other in zip(known, unknown, strict=True):
        assert (other.owner, other.order, other.address) == (one.owner, one.order, one.address)
        assert (other.fact, other.prompt, other.target, other.is_whole) == (None,) * 4


# Inputs of all kinds


def test_all_forms_of_one_text_give_the_same(written):
    model, tokenizer, ilse, _ = written
    expected = explain(model, TEXT, ilse)
    ids = tokenizer(TEXT)["input_ids"]
    tensor = torch.tensor(ids)
    forms = [
        ids, tuple(ids), tensor, tensor.unsqueeze(0), tensor.int(), [TEXT], [ids], [tensor],
        tokenizer(TEXT), tokenizer(TEXT, return_tensors="pt"), tokenizer([TEXT]),
        tokenizer(TEXT, return_tensors="np"), {"input_ids": tensor},
    ]  # fmt: skip
    assert isinstance(expected, Explanation)
    assert expected.firings
    for form in forms:
        assert explain(model, form, ilse) == expected


def test_a_chat_is_read_through_the_template(written):
    model, tokenizer, ilse, _ = written
    asked = [{"role": "user", "content": CHAT[0][1]}]
    sequence = only(explain(model, asked, ilse))
    assert "".join(sequence.tokens) == tokenizer.apply_chat_template(
        asked, tokenize=False, add_generation_prompt=True
    )
    assert (sequence.firings[-1].fact, sequence.firings[-1].prompt) == (FACTS[2], CHAT)
    assert sequence.firings[-1].position == len(sequence.tokens) - 1
    assert only(explain(model, CHAT, ilse)) == sequence
    assert only(explain(model, [asked], ilse)) == sequence
    answered = [*asked, {"role": "assistant", "content": "Bergen."}]
    whole = only(explain(model, answered, ilse))
    assert "".join(whole.tokens) == tokenizer.apply_chat_template(answered, tokenize=False)
    assert "".join(f.target for f in whole.firings) == "Bergen."


def test_a_batch_gives_each_sequence_its_own_tables(written):
    model, _, ilse, firm = written
    texts = [TEXT, "The locker code is", TEXT]
    together = explain(model, texts, [ilse, [ilse, firm], None])
    assert len(together) == 3
    assert [sequence.owners for sequence in together] == [("ilse",), ("ilse", "firm"), ()]
    assert [decoded(sequence) for sequence in together] == texts
    alone = [explain(model, texts[0], ilse), explain(model, texts[1], [[ilse, firm]])]
    for sequence, other in zip(together.sequences[:2], alone, strict=True):
        places = [(f.position, f.layer, f.row, f.fact, f.prompt) for f in sequence.firings]
        assert places == [(f.position, f.layer, f.row, f.fact, f.prompt) for f in other.firings]
        assert places
    assert together[2].changes == ()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_not_counted(written, side):
    model, tokenizer, ilse, firm = written
    texts = [TEXT, "My locker code is"]
    batch = tokenizer(texts, padding=True, padding_side=side, return_tensors="pt")
    padded = explain(model, batch, [ilse, [firm, ilse]])
    for text, sequence in zip(texts, padded, strict=True):
        assert decoded(sequence) == text
    (alone,) = explain(model, texts[1], [[firm, ilse]])
    assert padded[1].firings[-1].position == len(alone.tokens) - 1
    assert [f.fact for f in padded[1].firings] == [f.fact for f in alone.firings]
    assert padded[1].changes[-1].after[0].token == alone.changes[-1].after[0].token
    # Lists that the tokenizer has padded are read by their mask as well.
    as_lists = explain(
        model, tokenizer(texts, padding=True, padding_side=side), [ilse, [firm, ilse]]
    )
    assert [s.token_ids for s in as_lists] == [s.token_ids for s in padded]


def test_how_many_next_tokens_are_compared_can_be_said(written):
    model, _, ilse, _ = written
    for top, expected in ((1, 1), (7, 7), (10**6, tiny.VOCAB_SIZE)):
        change = explain(model, "My locker code is", ilse, top=top).changes[0]
        assert len(change.before) == len(change.after) == expected
    with pytest.raises(ConfigError, match="`top` is 0"):
        explain(model, TEXT, ilse, top=0)


# What stays as it is


def test_nothing_stays_on_the_model(written):
    model, _, ilse, firm = written
    before = state_of(model)
    explain(model, TEXT, [[ilse, firm]])
    assert state_of(model) == before
    block = model.model.layers[2]
    handle = block.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyError("stop")))
    with pytest.raises(KeyError, match="stop"):
        explain(model, TEXT, ilse)
    handle.remove()
    assert state_of(model) == before
    assert require_attachment(model).open_frames == ()


def test_a_model_in_training_is_explained_without_dropout_and_stays_in_training():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=300, n_embd=64, n_layer=2, n_head=4, resid_pdrop=0.5)
    )
    patched(model, tiny.tiny_tokenizer(), layers=[1])
    table = make_table(model, frequent_ngrams(model), layer=1).table
    expected = explain(model.eval(), TEXT, table)
    model.train()
    model.transformer.h[0].eval()
    before = state_of(model)
    assert explain(model, TEXT, table) == expected
    assert state_of(model) == before
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_table_that_is_erased_meanwhile_is_explained_as_it_was(written):
    model, _, ilse, _ = written
    table = copy.copy(ilse).bind(model)
    expected = explain(model, TEXT, table)
    handle = model.register_forward_pre_hook(lambda *_: table.erase(all=True) and None)
    found = explain(model, TEXT, table)
    handle.remove()
    assert found == expected
    assert explain(model, TEXT, table).firings == ()


def test_another_threads_forwards_are_not_explained(written):
    model, _, ilse, _ = written
    done = []

    def elsewhere(*_):
        if not done:
            done.append(True)
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()

    def run():
        done.append(explain(model, TEXT, ilse))

    handle = model.register_forward_pre_hook(elsewhere)
    mine = explain(model, "The harbour opens at seven.", ilse)
    handle.remove()
    assert mine.firings == ()
    assert done[1] == explain(model, TEXT, ilse)


def test_threads_explain_at_the_same_time(written):
    model, _, ilse, firm = written
    asked = [(TEXT, ilse), (TEXT, firm), (FACTS[1].prompt, ilse), (TEXT, None)] * 2
    expected = [explain(model, text, table) for text, table in asked]
    found = [None] * len(asked)

    def run(number):
        for _ in range(5):
            found[number] = explain(model, *asked[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


# Around the model


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_model_within_peft_is_explained(written):
    from peft import LoraConfig, get_peft_model

    model, tokenizer, ilse, _ = written
    wrapped = get_peft_model(
        copy.deepcopy(model),
        LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, target_modules=["q_proj"]),
    )
    inputs = tokenizer(TEXT, return_tensors="pt")
    with use_tables(wrapped, ilse), torch.no_grad():
        logits = wrapped(**inputs).logits[0]
    explanation = explain(wrapped, inputs, ilse)
    plain = explain(model, inputs, ilse)
    assert [f.row for f in explanation.firings] == [f.row for f in plain.firings]
    for change in explanation.changes:
        best = logits[change.position].max()
        assert change.after[0].logit_after == best.item()
    assert explanation.changes != plain.changes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_was_really_added_is_told_in_every_precision(tiny_tokenizer, dtype):
    model = patched(tiny.tiny_model("llama").to(dtype), tiny_tokenizer)
    table = make_table(model, frequent_ngrams(model), distinct_rows=5).table
    with memory_reads(model) as expected, use_tables(model, table), torch.no_grad():
        model(input_ids=torch.tensor([tiny_tokenizer(TEXT)["input_ids"]]))
    firings = explain(model, TEXT, table).firings
    assert len(firings) == len(expected) > 5
    for firing in firings:
        _, _, added, hidden = expected[firing.layer, 0, firing.position]
        assert (firing.added, firing.hidden) == pytest.approx((added, hidden), rel=1e-5)


@pytest.mark.slow
def test_a_compiled_model_is_run_as_it_is_without(written):
    model, _, ilse, _ = written
    expected = explain(model, TEXT, ilse)
    compiled = torch.compile(copy.deepcopy(model), backend="eager")
    in_place = copy.deepcopy(model)
    in_place.compile(backend="eager")
    ids = torch.arange(5, 20).unsqueeze(0)
    for model in (compiled, in_place):
        with use_tables(model, ilse), torch.inference_mode():
            model(ids)  # compiled code that has been made already runs no new hooks
        assert explain(model, TEXT, ilse) == expected


def compile_block(model):
    model.model.layers[LAYERS[1]].compile(backend="eager")


def compile_forward(model):
    model.forward = torch.compile(model.forward, backend="eager")


def wrap_block(model):
    model.model.layers[LAYERS[1]] = torch.compile(model.model.layers[LAYERS[1]], backend="eager")


@pytest.mark.parametrize("compile_part", [compile_block, compile_forward, wrap_block])
def test_a_model_that_is_compiled_in_parts_is_refused(written, compile_part):
    model, _, ilse, _ = written
    model = copy.deepcopy(model)
    compile_part(model)
    with pytest.raises(ConfigError, match="runs as compiled code, in which rows can't be seen"):
        explain(model, TEXT, ilse)


def test_a_memory_that_was_not_seen_is_not_taken_for_one_that_read_nothing(written, monkeypatch):
    model, tokenizer, ilse, _ = written
    model = copy.deepcopy(model)
    compile_block(model)
    with use_tables(model, ilse), torch.inference_mode():
        model(**tokenizer(TEXT, return_tensors="pt"))  # code without hooks is kept
    monkeypatch.setattr(explaining, "_uncompiled", lambda model: model)
    with pytest.raises(ConfigError, match=f"decoder block {LAYERS[1]} runs as compiled code"):
        explain(model, tokenizer(TEXT, return_tensors="pt"), ilse)


@pytest.mark.gpu
def test_a_model_on_a_gpu_is_explained_the_same(written):
    model, _, ilse, firm = written
    expected = only(explain(model, TEXT, [[ilse, firm]]))
    sequence = only(explain(copy.deepcopy(model).cuda(), TEXT, [[ilse, firm]]))
    assert len(sequence.firings) == len(expected.firings)
    for one, other in zip(sequence.firings, expected.firings, strict=True):
        assert (one.address, one.owner, one.fact) == (other.address, other.owner, other.fact)
        assert one.relative == pytest.approx(other.relative, rel=1e-3)


# What is refused


def test_a_model_without_memories_is_refused(tiny_llama):
    with pytest.raises(NotPatchedError):
        explain(tiny_llama, TEXT, None)


def test_a_table_of_another_model_is_refused(written, tiny_tokenizer):
    model, _, ilse, _ = written
    other = tiny.tiny_model("llama", seed=1)
    add_engram(other, tiny_tokenizer, layers=LAYERS, gate_type="content", row_dim=64)
    with pytest.raises(TableMismatchError):
        explain(other, TEXT, ilse)
    assert explain(model, TEXT, ilse).firings


def test_tables_must_be_as_many_as_sequences(written):
    model, _, ilse, firm = written
    for inputs, tables in ((TEXT, [ilse, firm]), ([TEXT] * 4, [ilse, firm]), (TEXT, [])):
        with pytest.raises(TableCountError):
            explain(model, inputs, tables)


def test_what_is_no_table_is_refused(written):
    model, _, _, _ = written
    for tables in (["ilse"], [["ilse"]]):
        with pytest.raises(TypeError, match="give UserTable objects"):
            explain(model, TEXT, tables)


def test_a_damaged_patch_is_refused(written):
    model, _, ilse, _ = written
    model = copy.deepcopy(model)
    model.model.layers[LAYERS[1]]._forward_pre_hooks.clear()
    with pytest.raises(DamagedPatchError):
        explain(model, TEXT, ilse)
