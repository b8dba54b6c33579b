"""Promises of `UserTable` apart from writing, files and reading, which have tests of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tables import LAYERS, ROW_DIM, table_of_facts

from engram_transformers import Fact, UserTable, add_engram, remove_engram, use_tables
from engram_transformers.errors import (
    ConfigError,
    FactNotFoundError,
    LayerIndexError,
    LedgerMissingError,
    ModelGoneError,
    NotPatchedError,
)

CHAT = (("user", "Which tea does she like?"),)
FACTS = [
    Fact("My dog is called", "Pepper"),
    Fact("Her favourite tea is", "verbena", (CHAT, "She likes tea:")),
    Fact("The library opens at", "nine"),
    Fact("I was born in the year", "1993"),
    Fact((("user", "Where do I live?"),), "In the old town"),
]


@pytest.fixture
def model(tiny_llama, tiny_tokenizer):
    return add_engram(tiny_llama, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@pytest.fixture
def table(model) -> UserTable:
    """Five facts with made-up rows."""
    return table_of_facts(model, FACTS)


def state_of(table: UserTable) -> tuple[Any, ...]:
    rows = table.rows
    tensors = (rows.addresses.tolist(), rows.row_index.tolist(), rows.values.tolist(), rows.orders)
    return (*tensors, table.entries, table.version, table.binding)


def refused(table: UserTable, error: type[Exception], message: str, *args: Any, **options: Any):
    """Check that an erasure is refused and that nothing is gone."""
    before = state_of(table)
    with pytest.raises(error, match=message) as seen:
        table.erase(*args, **options)
    assert state_of(table) == before
    return seen.value


# Making one


def test_a_new_table_is_empty_and_read_at_the_deepest_memory(model):
    table = UserTable(model, "ann")
    assert (table.owner, table.layer, table.dtype, table.version) == ("ann", 3, "int4", 0)
    assert (len(table), table.nbytes, table.facts, table.has_rows) == (0, 0, (), False)
    assert bool(table)
    with use_tables(model, table):
        assert torch.isfinite(model(torch.tensor([[5]])).logits).all()


@pytest.mark.parametrize(("given", "layer"), [(1, 1), (-1, 3), (-3, 1), (None, 3)])
def test_the_layer_is_counted_from_either_end(model, given, layer):
    assert UserTable(model, "ann", layer=given).layer == layer


@pytest.mark.parametrize("layer", [0, 2, 4, -2, -5])
def test_a_layer_without_a_memory_is_refused(model, layer):
    with pytest.raises(LayerIndexError, match=rf"Layer {layer} .* memories at \[1, 3\]"):
        UserTable(model, "ann", layer=layer)


@pytest.mark.parametrize("owner", ["", "  ", None, 5])
def test_an_owner_without_a_name_is_refused(model, owner):
    with pytest.raises(ConfigError, match=r"`owner` is .*, but must be a name"):
        UserTable(model, owner)


def test_bad_options_are_refused(model, tiny_tokenizer):
    with pytest.raises(ConfigError, match="`dtype` is 'int2'"):
        UserTable(model, "ann", dtype="int2")  # pyright: ignore
    with pytest.raises(NotPatchedError):
        UserTable(torch.nn.Linear(1, 1), "ann")


# Looking into it


def test_facts_are_listed_counted_and_looked_up(table):
    facts = FACTS
    assert list(table) == list(table.facts) == facts
    assert len(table) == 5
    for fact in facts:
        for present in (fact, *fact.prompts, (fact.prompt, fact.answer)):
            assert present in table
        assert {"prompt": fact.prompt, "answer": fact.answer} in table
    for absent in ("no such prompt", (fact.prompt, "no"), Fact(fact.prompt, "no"), 5, None):
        assert absent not in table


def test_a_chat_is_looked_up_by_its_messages(table):
    assert [{"role": "user", "content": "Which tea does she like?"}] in table
    assert [{"role": "user", "content": "Where do I live?"}] in table
    assert [*CHAT, ("assistant", "verbena")] not in table
    answered = [{"role": "user", "content": "Where do I live?"}]
    assert [*answered, {"role": "assistant", "content": "In the old town"}] in table
    assert [*answered, {"role": "assistant", "content": "In the new town"}] not in table


def test_nbytes_counts_rows_and_addresses(table):
    rows, dim = table.rows.values.shape
    addresses = len(table.rows.addresses)
    assert rows < addresses  # the wordings of a fact share its rows
    assert table.nbytes == rows * (dim + 2) + addresses * (8 + 1)


def test_a_table_shows_what_it_is(table):
    shown = repr(table)
    assert "UserTable(owner=" in shown
    assert (
        f"5 facts, {len(table.rows.values)} rows, {table.nbytes} bytes, layer=3, version=7" in shown
    )
    without = table.reading(table.rows)
    assert "facts unknown" in repr(without)


def test_a_table_without_texts_refuses_what_needs_them(table):
    without = table.reading(table.rows)
    calls = {
        "listing facts": lambda: without.facts,
        "counting facts": lambda: len(without),
        "looking a fact up": lambda: "a" in without,
        "erasing single facts": lambda: without.erase("a"),
    }
    for action, call in calls.items():
        with pytest.raises(LedgerMissingError, match=f"store_text=False: {action} needs"):
            call()
    with pytest.raises(LedgerMissingError):
        without.write([("a", "b")])
    assert without.rows is table.rows
    assert without.erase(all=True).rows_erased == len(table.rows.values)
    assert not without.has_rows


# Erasing


def values_of(table: UserTable) -> dict[int, list[float]]:
    rows = table.rows
    places = zip(rows.addresses.tolist(), rows.row_index.tolist(), strict=True)
    return {address: rows.values[row].tolist() for address, row in places}


@pytest.mark.parametrize("form", ["fact", "prompt", "pair", "dictionary", "list", "mixed"])
@pytest.mark.parametrize("number", range(5))
def test_facts_are_erased_in_any_form_and_others_stay_bit_for_bit(model, table, form, number):
    one = FACTS[number]
    wanted = {
        "fact": one,
        "prompt": one.prompt,
        "pair": (one.prompt, one.answer),
        "dictionary": {"prompt": one.prompt, "answer": one.answer},
        "list": [one],
        "mixed": [one.prompt, one, (one.prompt, one.answer)],
    }[form]
    before = values_of(table)
    receipt = table.erase(wanted)
    others = FACTS[:number] + FACTS[number + 1 :]
    assert receipt.erased == (one,)
    assert list(table) == others
    after = values_of(table)
    assert after.items() < before.items()
    assert (receipt.facts_left, receipt.version) == (4, 8)
    assert receipt.addresses_erased == len(before) - len(after)
    alone = table_of_facts(model, [one])
    assert receipt.rows_erased == len(alone.rows.values)
    assert receipt.addresses_erased == len(alone.rows.addresses)
    assert table.rows.row_index.unique().tolist() == list(range(len(table.rows.values)))


def test_two_prompts_in_a_tuple_are_two_prompts(table):
    receipt = table.erase((FACTS[0].prompt, FACTS[2].prompt))
    assert receipt.erased == (FACTS[0], FACTS[2])


def test_a_paraphrase_names_its_fact(table):
    assert table.erase([[{"role": "user", "content": CHAT[0][1]}]]).erased == (FACTS[1],)
    assert len(table) == 4


def test_erasing_everything_leaves_an_empty_table(model, table):
    rows = len(table.rows.values)
    with torch.no_grad():
        ids = torch.arange(100).unsqueeze(0)
        base = model(ids).logits
        receipt = table.erase(all=True)
        assert (receipt.rows_erased, receipt.facts_left) == (rows, 0)
        assert receipt.erased == tuple(FACTS)
        assert (len(table), table.nbytes, table.rows.orders) == (0, 0, ())
        with use_tables(model, table):
            assert torch.equal(model(ids).logits, base)


def test_erasing_one_by_one_leaves_nothing_either(table):
    version = table.version
    for number, fact in enumerate(FACTS):
        assert table.erase(fact).version == version + number + 1
    assert (table.nbytes, table.rows.orders, table.rows.values.shape) == (0, (), (0, ROW_DIM))


def test_what_is_not_there_is_not_erased_and_nothing_else_is(table):
    fact = FACTS[0]
    error = refused(table, FactNotFoundError, "holds no fact for: 'nothing'", "nothing")
    assert isinstance(error, KeyError)
    assert str(error).startswith("The table of ")  # and not in the quotes of KeyError
    error = refused(table, FactNotFoundError, "'one', 'two'", [fact, "one", fact.prompt, "two"])
    assert error.missing == ("'one'", "'two'")
    refused(table, FactNotFoundError, "other answer", (fact.prompt, "other answer"))
    refused(table, FactNotFoundError, "no fact for", Fact(fact.prompt, "no"))


def test_erasing_nothing_in_particular_is_refused(table):
    refused(table, ConfigError, "and not both")
    refused(table, ConfigError, "and not both", "a prompt", all=True)


# The model it belongs to


def test_a_table_needs_a_live_patched_model_only_to_change(model, table):
    fact = FACTS[0]
    remove_engram(model)
    refused(table, ModelGoneError, r"no live model.*table.bind\(model\)", fact)
    with pytest.raises(ModelGoneError):
        table.write([("a", "b")])
    assert len(table) == 5
    with pytest.raises(NotPatchedError):
        table.bind(model)
    assert table.erase(all=True).facts_left == 0


def test_writing_nothing_changes_nothing(table):
    before = state_of(table)
    report = table.write([])
    assert (report.written, report.failed, report.nbytes) == ((), (), table.nbytes)
    assert state_of(table) == before
