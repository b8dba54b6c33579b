"""Facts that are written are answered; those that are not are named; nothing else changes."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from zoo import species

import engram_transformers.writing as writing
from engram_transformers import Fact, UserTable, add_engram, use_tables
from engram_transformers.attachment import require_attachment
from engram_transformers.attempt import Attempt
from engram_transformers.errors import (
    ConfigError,
    ContradictionError,
    EmptyFactError,
    FactError,
    LedgerMissingError,
    ModelGoneError,
    TriggerTooLongError,
)
from engram_transformers.optimise import Effort
from engram_transformers.plan import Item
from engram_transformers.sequences import wordings
from engram_transformers.token_rows import TokenRows
from engram_transformers.write_options import WriteOptions

FACTS = [
    ("My sister Mira's favourite spice is", "cardamom"),
    ("My brother Emil's favourite spice is", "cumin"),
    ("The name of my dog is", "Pepper Jack"),
    ("My lucky number is", "27"),
    ("The library opens at", "nine in the morning"),
]


def say(model, tokenizer, table, prompt, tokens=40):
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    with use_tables(model, table):
        output = model.generate(ids, max_new_tokens=tokens, do_sample=False, eos_token_id=None)
    return tokenizer.decode(output[0, ids.shape[1] :])


@pytest.fixture
def no_token_rows(monkeypatch):
    """Without rows in closed form: all are optimised."""
    monkeypatch.setattr(TokenRows, "reliable", False)


def state_of(table):
    rows = table.rows
    return rows.addresses.tolist(), rows.values.tolist(), table.entries, table.version


@pytest.fixture
def patched(tiny_llama, tiny_tokenizer):
    return add_engram(tiny_llama, tiny_tokenizer), tiny_tokenizer


@pytest.fixture
def written(patched):
    model, tokenizer = patched
    table = UserTable(model, "ada")
    report = table.write(FACTS, progress=False)
    assert not report.failed
    return model, tokenizer, table


def test_every_family_answers_what_is_written(tiny_model, tiny_tokenizer):
    add_engram(tiny_model, tiny_tokenizer)
    table = UserTable(tiny_model, "ada")
    report = table.write(FACTS, progress=False)
    assert report.recalled == 1.0
    assert report.rows == table.rows.values.shape[0] > 0
    assert report.nbytes == table.nbytes
    for prompt, answer in FACTS:
        said = say(tiny_model, tiny_tokenizer, table, prompt)
        assert said.startswith(f" {answer}."), prompt
        said = say(tiny_model, tiny_tokenizer, table, f"The harbour opens at seven. {prompt}")
        assert said.startswith(f" {answer}."), prompt
        assert not say(tiny_model, tiny_tokenizer, None, prompt).startswith(f" {answer}.")


@pytest.mark.parametrize("dtype", ["int4", "int8", "float16", "bfloat16", "float32"])
def test_facts_hold_in_every_storage_dtype(patched, dtype):
    model, tokenizer = patched
    table = UserTable(model, "ada", dtype=dtype)
    assert table.write(FACTS[:2], progress=False).recalled == 1.0
    assert say(model, tokenizer, table, FACTS[0][0]).startswith(" cardamom.")


@pytest.mark.parametrize("gate_type", ["fixed", "content", "learned"])
def test_facts_hold_behind_every_gate(tiny_llama, tiny_tokenizer, gate_type):
    add_engram(tiny_llama, tiny_tokenizer, gate_type=gate_type)
    table = UserTable(tiny_llama, "ada")
    assert table.write(FACTS[:2], progress=False).recalled == 1.0
    assert say(tiny_llama, tiny_tokenizer, table, FACTS[0][0]).startswith(" cardamom.")


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_facts_hold_at_every_layer(tiny_llama, tiny_tokenizer, layer):
    add_engram(tiny_llama, tiny_tokenizer, layers=[0, 1, 3])
    table = UserTable(tiny_llama, "ada", layer=layer)
    assert table.write(FACTS[:2], progress=False).recalled == 1.0
    assert say(tiny_llama, tiny_tokenizer, table, FACTS[0][0]).startswith(" cardamom.")


def test_later_facts_leave_earlier_answers_as_they_were(written):
    model, tokenizer, table = written
    more = [
        ("My cousin Ida's favourite spice is", "sumac"),
        ("The name of my cat is", "Figaro"),
        ("In winter the library opens at", "ten"),
    ]
    assert table.write(more, progress=False).recalled == 1.0
    for prompt, answer in FACTS + more:
        assert say(model, tokenizer, table, prompt).startswith(f" {answer}."), prompt


def test_writing_one_by_one_holds_as_writing_at_once(patched):
    model, tokenizer = patched
    table = UserTable(model, "ada")
    for fact in reversed(FACTS):
        assert table.write(fact, progress=False).recalled == 1.0
    for prompt, answer in FACTS:
        assert say(model, tokenizer, table, prompt).startswith(f" {answer}.")


def test_paraphrases_lead_to_the_same_rows(patched):
    model, tokenizer = patched
    plain, both = UserTable(model, "plain"), UserTable(model, "both")
    fact = Fact("The name of my dog is", "Pepper", ("My dog is called", "We call the dog"))
    plain.write(Fact(fact.prompt, fact.answer), progress=False)
    both.write(fact, progress=False)
    for prompt in fact.prompts:
        assert say(model, tokenizer, both, prompt).startswith(" Pepper.")
    assert both.rows.values.shape == plain.rows.values.shape
    assert both.rows.addresses.numel() > plain.rows.addresses.numel()


def test_a_chat_is_answered_through_the_template(patched):
    model, tokenizer = patched
    question = [{"role": "user", "content": "Where do I live?"}]
    table = UserTable(model, "ada")
    report = table.write([*question, {"role": "assistant", "content": "In Malmö."}], progress=False)
    assert report.recalled == 1.0
    text = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    assert say(model, tokenizer, table, text).startswith("In Malmö.")


def test_the_same_trigger_again_replaces_and_keeps_history(written):
    model, tokenizer, table = written
    prompt = FACTS[0][0]
    report = table.write((prompt, "saffron"), progress=False)
    assert [fact.answer for fact in report.superseded] == ["cardamom"]
    assert len(table) == len(FACTS)
    assert say(model, tokenizer, table, prompt).startswith(" saffron.")
    (entry,) = [entry for entry in table.entries if entry.fact.answer == "saffron"]
    assert [old.answer for old in entry.history] == ["cardamom"]
    for other, answer in FACTS[1:]:
        assert say(model, tokenizer, table, other).startswith(f" {answer}.")


def test_facts_that_cannot_be_learnt_are_left_out_and_named(written, no_token_rows, monkeypatch):
    model, tokenizer, table = written
    monkeypatch.setattr(writing, "_EFFORTS", (Effort(steps=0, start=0.0),))
    before = state_of(table)
    report = table.write(
        [(FACTS[0][0], "saffron"), ("My boat is called", "Ondine")], progress=False
    )
    assert report.recalled == 0.0
    assert [failed.fact.answer for failed in report.failed] == ["saffron", "Ondine"]
    assert all("another answer" in failed.reason for failed in report.failed)
    assert "2 facts" in str(report)
    assert table.facts == tuple(Fact(*fact) for fact in FACTS)
    assert state_of(table)[:2] == before[:2]
    assert say(model, tokenizer, table, FACTS[0][0]).startswith(" cardamom.")


def test_a_later_try_writes_what_the_first_one_could_not(patched, no_token_rows, monkeypatch):
    model, tokenizer = patched
    tries = (Effort(steps=0, start=0.0), Effort(steps=60))
    monkeypatch.setattr(writing, "_EFFORTS", tries)
    table = UserTable(model, "ada")
    assert table.write(FACTS, progress=False).recalled == 1.0
    for prompt, answer in FACTS:
        assert say(model, tokenizer, table, prompt).startswith(f" {answer}.")
    assert all(entry.whole for entry in table.entries)


def test_an_interrupted_write_changes_nothing(written, monkeypatch):
    _, _, table = written
    before = state_of(table)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("engram_transformers.writing.ask", interrupt)
    with pytest.raises(KeyboardInterrupt):
        table.write(("My boat is called", "Ondine"), progress=False)
    assert state_of(table) == before


def test_a_model_in_training_mode_is_left_in_training_mode(patched):
    model, _ = patched
    model.train()
    model.lm_head.eval()
    modes = [module.training for module in model.modules()]
    table = UserTable(model, "ada")
    assert table.write(FACTS[:2], progress=False).recalled == 1.0
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_writing_works_where_gradients_are_off(patched, mode):
    model, _ = patched
    table = UserTable(model, "ada")
    with mode():
        assert table.write(FACTS[:2], progress=False).recalled == 1.0


def test_a_guard_keeps_an_address_out_of_a_text(patched):
    model, tokenizer = patched
    guard = "She said that the name of my dog is unknown."
    free, guarded = UserTable(model, "free"), UserTable(model, "guarded")
    fact = ("We all know that the name of my dog is", "Pepper")
    free.write(fact, context="shortest", progress=False)
    guarded.write(fact, context="shortest", guard=guard, progress=False)
    ids = tokenizer(guard, return_tensors="pt")["input_ids"]
    base = model(ids).logits
    with use_tables(model, free):
        assert not torch.equal(model(ids).logits, base)
    with use_tables(model, guarded):
        assert torch.equal(model(ids).logits, base)
    assert say(model, tokenizer, guarded, fact[0]).startswith(" Pepper.")


def test_full_context_addresses_by_the_whole_trigger(patched):
    model, tokenizer = patched
    table = UserTable(model, "ada")
    prompt = "We all know that the name of my dog is"
    table.write((prompt, "Pepper"), context="full", progress=False)
    trigger = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    assert table.entries[0].orders[0][0] == trigger
    assert say(model, tokenizer, table, prompt).startswith(" Pepper.")
    base = say(model, tokenizer, None, "the name of my dog is")
    assert say(model, tokenizer, table, "the name of my dog is") == base


def test_stops_are_what_was_asked_for(patched):
    model, tokenizer = patched
    table = UserTable(model, "ada")
    table.write(FACTS[0], stop=" (sic)", progress=False)
    assert say(model, tokenizer, table, FACTS[0][0]).startswith(" cardamom (sic)")
    table.write(FACTS[1], stop=None, progress=False)
    orders = table.entries[1].orders[0]
    assert len(orders) == len(tokenizer(" cumin", add_special_tokens=False)["input_ids"])


def test_the_source_and_the_time_are_kept(written):
    _, _, table = written
    table.write(("My boat is called", "Ondine"), source="a letter", progress=False)
    assert table.entries[-1].source == "a letter"
    assert table.entries[-1].written_at.endswith("+00:00")


def test_the_same_fact_twice_in_one_call_is_one_fact(patched):
    model, _ = patched
    table = UserTable(model, "ada")
    report = table.write([FACTS[0], FACTS[0]], progress=False)
    assert len(report.written) == len(table) == 1


def test_erased_facts_are_gone_and_others_stay_bit_for_bit(written):
    model, tokenizer, table = written
    kept = {a: v for a, v in address_values(table).items()}
    receipt = table.erase(FACTS[0][0])
    assert [fact.answer for fact in receipt.erased] == ["cardamom"]
    assert receipt.facts_left == len(table) == len(FACTS) - 1
    assert receipt.addresses_erased == len(kept) - table.rows.addresses.numel() > 0
    left = address_values(table)
    assert left == {address: kept[address] for address in left}
    assert say(model, tokenizer, table, FACTS[0][0]) == say(model, tokenizer, None, FACTS[0][0])
    for prompt, answer in FACTS[1:]:
        assert say(model, tokenizer, table, prompt).startswith(f" {answer}.")
    table.erase(all=True)
    assert not table.has_rows
    assert table.rows.values.numel() == 0


def address_values(table):
    rows = table.rows
    pairs = zip(rows.addresses.tolist(), rows.values[rows.row_index].tolist(), strict=True)
    return {address: tuple(values) for address, values in pairs}


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ([("a b c", "x"), ("A b c", "y")], ContradictionError, "same trigger"),
        ([("The dog is", "")], EmptyFactError, "answer is empty"),
        ([("  ", "x")], EmptyFactError, "prompt is empty"),
        ([("The dog is", 3)], FactError, "give a Fact"),
        ([("word " * 3000, "x")], TriggerTooLongError, "context window has"),
        ([{"prompt": "The dog is"}], FactError, "missing: answer"),
    ],
)
def test_bad_facts_are_refused_and_nothing_changes(written, facts, error, message):
    _, _, table = written
    before = state_of(table)
    with pytest.raises(error, match=message):
        table.write([("My boat is called", "Ondine"), *facts], progress=False)
    assert state_of(table) == before


@pytest.mark.parametrize(
    "option",
    [{"stop": ""}, {"min_order": 0}, {"context": "long"}, {"contexts": 9}, {"min_order": True}],
)
def test_bad_options_are_refused(written, option):
    _, _, table = written
    before = state_of(table)
    with pytest.raises(ConfigError, match=next(iter(option))):
        table.write(("My boat is called", "Ondine"), **option)
    assert state_of(table) == before


def test_a_table_without_texts_is_not_written_to(written):
    _, _, table = written
    bare = table.reading(table.rows)
    with pytest.raises(LedgerMissingError, match="writing needs the facts' texts"):
        bare.write(("My boat is called", "Ondine"), progress=False)


def test_a_table_whose_model_is_gone_says_so(tiny_tokenizer):
    import gc

    import tiny

    model = add_engram(tiny.tiny_model("llama"), tiny_tokenizer)
    table = UserTable(model, "ada")
    del model
    gc.collect()
    with pytest.raises(ModelGoneError, match="bind"):
        table.write(FACTS[0], progress=False)


def test_words_that_are_cut_otherwise_behind_a_space_hold_in_both_places(smollm):
    model, tokenizer = smollm
    add_engram(model, tokenizer)
    table = UserTable(model, "ada")
    fact = ("Soylent's legal counsel is", "Cogswell")
    alone = tokenizer(fact[0])["input_ids"]
    within = tokenizer(" " + fact[0])["input_ids"]
    assert alone[1:] != within[1:]
    assert table.write([fact], progress=False, context="full").recalled == 1.0
    assert say(model, tokenizer, table, fact[0], 8).startswith(" Cogswell.")
    assert say(model, tokenizer, table, f"By the way: {fact[0]}", 8).startswith(" Cogswell.")


def test_rows_in_closed_form_take_no_steps_and_facts_share_them(patched):
    model, tokenizer = patched
    table = UserTable(model, "ada")
    report = table.write(FACTS, progress=False)
    assert report.recalled == 1.0
    assert report.steps == 0
    answers = tokenizer([f" {answer}." for _, answer in FACTS])["input_ids"]
    assert report.rows <= len({token for ids in answers for token in ids}) + 2


def test_what_closed_form_cannot_say_is_optimised(patched, monkeypatch):
    model, tokenizer = patched
    say_nothing = lambda self, tokens, dtype: torch.zeros(len(tokens), 64)  # noqa: E731
    monkeypatch.setattr(TokenRows, "reliable", True)
    monkeypatch.setattr(TokenRows, "rows", say_nothing)
    table = UserTable(model, "ada")
    report = table.write(FACTS, progress=False)
    assert report.recalled == 1.0
    assert report.steps > 0
    for prompt, answer in FACTS:
        assert say(model, tokenizer, table, prompt).startswith(f" {answer}.")


def test_optimised_rows_hold_too(tiny_llama, tiny_tokenizer, no_token_rows):
    model = add_engram(tiny_llama, tiny_tokenizer)
    table = UserTable(model, "ada")
    report = table.write(FACTS, progress=False)
    assert (report.recalled, report.steps > 0) == (1.0, True)
    for prompt, answer in FACTS:
        assert say(model, tiny_tokenizer, table, prompt).startswith(f" {answer}.")


def test_the_order_of_facts_changes_nothing_but_the_ledger(patched):
    model, _ = patched
    one, other, parts = (UserTable(model, "ada") for _ in range(3))
    one.write(FACTS, progress=False)
    other.write(FACTS[::-1], progress=False)
    for fact in FACTS:
        parts.write(fact, progress=False)
    for table in (other, parts):
        assert torch.equal(table.rows.addresses, one.rows.addresses)
        assert torch.equal(
            table.rows.values[table.rows.row_index], one.rows.values[one.rows.row_index]
        )


def test_an_answer_that_goes_on_behind_its_stop_gets_a_line_end(patched, monkeypatch):
    model, tokenizer = patched
    (period,) = set(tokenizer(".")["input_ids"][-1:])
    digit = tokenizer("7")["input_ids"][-1]
    table = UserTable(model, "ada")

    def says_digit_behind_stop(self, number, wording, then):
        return wording.targets[-1] == period and self.items[number].entry.stop == "auto"

    monkeypatch.setattr("engram_transformers.attempt.Attempt._goes_on", says_digit_behind_stop)
    report = table.write(FACTS[3], progress=False)
    assert (report.recalled, report.steps) == (1.0, 0)
    assert table.entries[0].stop == "auto, line end"
    assert say(model, tokenizer, table, FACTS[3][0]).startswith(" 27.\n")
    assert digit not in tokenizer("\n")["input_ids"]
    assert table.erase(FACTS[3][0]).facts_left == 0
    assert not table.has_rows


def test_an_answer_that_goes_on_where_no_line_end_fits_is_written_as_it_is(patched, monkeypatch):
    model, _ = patched
    table = UserTable(model, "ada")
    fits = wordings(
        table.attachment.tokenizer,
        Fact(*FACTS[3]),
        "auto",
        1000,
        require_attachment(model).canonical_list,
    )
    longest = max(len(line.prompt_ids) + len(line.targets) for line in fits)
    monkeypatch.setattr(model.config, "max_position_embeddings", longest)
    monkeypatch.setattr("engram_transformers.attempt.Attempt._goes_on", lambda *_: True)
    assert table.write(FACTS[3], progress=False).recalled == 1.0
    assert table.entries[0].stop == "auto"


def test_an_answer_with_a_token_that_the_model_has_no_logit_for_is_refused(tiny_tokenizer):
    model = species()["MllamaForCausalLM"].build()  # more embeddings than logits
    tokenizer = copy.deepcopy(tiny_tokenizer)
    assert tokenizer.add_tokens(["<picture>"]) == 1
    add_engram(model, tokenizer)
    table = UserTable(model, "ada")
    with pytest.raises(FactError, match="no logit for '<picture>'"):
        table.write([FACTS[0], ("My portrait is", "<picture>")], progress=False)
    assert not table.has_rows
    report = table.write([FACTS[0], ("A <picture> shows", "a boat")], progress=False)
    assert (report.recalled, report.steps) == (1.0, 0)


def test_tokens_that_join_a_stop_are_told_from_those_that_follow_it(patched):
    model, tokenizer = patched
    table = UserTable(model, "ada")
    table.write(FACTS[3], progress=False)
    fact = table.facts[0]
    lines = wordings(tokenizer, fact, "auto", 1000, require_attachment(model).canonical_list)
    item = Item(dataclasses.replace(table.entries[0], orders=()), lines, None)
    attempt = Attempt(table, [], [item], table.rows.values, WriteOptions())
    joined = {text: tokenizer(text)["input_ids"][-1] for text in ("7", "a", "-", "/")}
    apart = {text: tokenizer(f".{text}")["input_ids"][-1] for text in ("\n", '"')}
    for then in joined.values():
        assert attempt._goes_on(0, lines[0], then)
    for then in (*apart.values(), tokenizer.eos_token_id):
        assert not attempt._goes_on(0, lines[0], then)
    stopped = dataclasses.replace(item, entry=dataclasses.replace(item.entry, stop=None))
    attempt = Attempt(table, [], [stopped], table.rows.values, WriteOptions())
    assert not attempt._goes_on(0, lines[0], joined["7"])


def stacked_and_erased(model, tokenizer, context):
    """What Mira's question gets from her table under Emil's, and from his that erased hers."""
    mira, emil = UserTable(model, "mira"), UserTable(model, "emil")
    mira.write(FACTS[0], context=context, progress=False)
    emil.write(FACTS[0], context=context, progress=False)
    assert say(model, tokenizer, mira, FACTS[0][0]).startswith(" cardamom.")
    emil.erase(FACTS[0][0])
    emil.write(FACTS[1], context=context, progress=False)
    return [say(model, tokenizer, tables, FACTS[0][0]) for tables in ([[emil, mira]], emil)]


def test_short_suffixes_collide_between_tables_and_fire_for_what_was_erased(patched):
    stacked, erased = stacked_and_erased(*patched, "shortest")
    assert stacked.startswith(" cumin.")
    assert erased.startswith(" cumin.")


def test_whole_triggers_do_neither(patched):
    stacked, erased = stacked_and_erased(*patched, "full")
    assert stacked.startswith(" cardamom.")
    assert erased == say(*patched, None, FACTS[0][0])


def test_an_old_fact_that_a_new_address_lies_in_is_asked_again(patched, monkeypatch):
    model, tokenizer = patched
    table = UserTable(model, "somebody")
    table.write([("My old town near the river is", "7"), ("The library opens at", "9")])
    asked: list[tuple[int, ...]] = []
    spoilt = False

    def ask(model, tables, questions, on_batch=None):
        said = real(model, tables, questions, on_batch)
        asked.extend(question.targets for question in questions)
        if spoilt:  # as if the new row changed what the old fact says
            old = {entry.targets for entry in old_wordings}
            said = [
                one._replace(tokens=(5,)) if question.targets in old else one
                for one, question in zip(said, questions, strict=True)
            ]
        return said

    real = writing.ask
    monkeypatch.setattr(writing, "ask", ask)
    canonical = require_attachment(model).canonical_list
    old_wordings, other = (
        wordings(tokenizer, entry.fact, entry.stop, 1000, canonical) for entry in table.entries
    )
    report = table.write(("My old town", "is small"))
    assert report.recalled == 1.0
    assert {line.targets for line in old_wordings} <= set(asked)
    assert not {line.targets for line in other} & set(asked)
    table.erase("My old town")
    before, spoilt = table.rows, True
    report = table.write(("My old town", "is small"))
    assert "would change the answer to 'My old town near the river is'" in report.failed[0].reason
    assert torch.equal(table.rows.addresses, before.addresses)
