"""Promises of plans: which address leads to which row, before any row is found."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tables import LAYERS, ROW_DIM

from engram_transformers import Fact, add_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.errors import ContradictionError
from engram_transformers.index import Rows
from engram_transformers.ledger import Entry
from engram_transformers.plan import (
    NO_ROW,
    Item,
    Plan,
    find_rows,
    make_plan,
)
from engram_transformers.sequences import wordings

DOG = Fact("The name of the dog is", "Pepper")
CAT = Fact("The name of the cat is", "Salt")


@pytest.fixture
def attachment(tiny_llama, tiny_tokenizer):
    add_engram(tiny_llama, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    return require_attachment(tiny_llama)


def item_of(attachment, fact: Fact, **fields) -> Item:
    lines = wordings(attachment.tokenizer, fact, "auto", 1000, attachment.canonical_list)
    return Item(Entry(fact, "2026-01-01", "auto", (), **fields), lines, None)


def numbered(plan: Plan) -> Rows:
    """The plan's rows, each of which holds its number."""
    count = plan.old_rows + plan.new_rows
    return plan.rows(torch.arange(count).float().unsqueeze(1).expand(-1, ROW_DIM))


def kept(item: Item, plan: Plan, number: int) -> Item:
    """An item as it is once it is in a table."""
    entry = dataclasses.replace(item.entry, orders=tuple(plan.orders[number]))
    return Item(entry, item.wordings, tuple(plan.row_ids[number]))


def test_each_answer_token_has_a_row_and_all_stops_share_one(attachment):
    items = [item_of(attachment, DOG), item_of(attachment, CAT)]
    plan = make_plan(attachment, items, 0)
    answers = [len(item.wordings[0].answer_ids) for item in items]
    assert plan.new_rows == sum(answers) + 1
    stops = {line[-1] for item in plan.row_ids for line in item}
    assert len(stops) == 1
    for item, ids in zip(items, plan.row_ids, strict=True):
        assert all(line == ids[0] for line in ids)  # the wordings of a fact share its rows
        assert len(ids) == len(item.wordings)
    own = [dataclasses.replace(item, sharing="nothing") for item in items]
    assert make_plan(attachment, own, 0).new_rows == sum(answers) + 2
    shared = [dataclasses.replace(item, sharing="tokens") for item in items]
    targets = {target for item in items for line in item.wordings for target in line.targets}
    plan = make_plan(attachment, shared, 0)
    assert sorted(plan.targets) == sorted(targets)
    for item, ids in zip(items, plan.row_ids, strict=True):
        for line, line_ids in zip(item.wordings, ids, strict=True):
            assert [plan.targets[row] for row in line_ids] == list(line.targets)


def test_a_forward_finds_the_planned_rows_at_the_planned_positions(attachment):
    items = [item_of(attachment, DOG), item_of(attachment, CAT)]
    plan = make_plan(attachment, items, 0)
    rows = numbered(plan)
    for item, row_ids in zip(items, plan.row_ids, strict=True):
        for wording, expected in zip(item.wordings, row_ids, strict=True):
            ids = torch.tensor([[5, 9, *wording.prompt_ids, *wording.targets[:-1]]])
            found = find_rows(attachment, rows, ids, torch.ones_like(ids))[0].tolist()
            assert tuple(found[-len(expected) :]) == expected
            assert set(found[: -len(expected)]) == {NO_ROW}
            masked = torch.ones_like(ids)
            masked[0, :-1] = 0
            assert find_rows(attachment, rows, ids, masked)[0, :-1].unique().tolist() == [NO_ROW]


def test_no_rows_are_found_in_an_empty_plan(attachment):
    plan = make_plan(attachment, [], 0)
    assert (plan.new_rows, plan.row_orders, plan.addresses) == (0, (), {})
    ids = torch.tensor([[1, 2, 3]])
    found = find_rows(attachment, numbered(plan), ids, torch.ones_like(ids))
    assert found.tolist() == [[NO_ROW] * 3]


def test_old_rows_keep_their_numbers_and_move_to_longer_addresses(attachment):
    dog = item_of(attachment, DOG)
    first = make_plan(attachment, [dog], 0)
    old = kept(dog, first, 0)
    twin = item_of(attachment, Fact("And what is the name of the dog is", "Basil"))
    plan = make_plan(attachment, [old, item_of(attachment, CAT), twin], first.new_rows)
    assert plan.row_ids[0] == first.row_ids[0]
    assert plan.old_rows == first.new_rows
    for before, after in zip(first.orders[0], plan.orders[0], strict=True):
        assert all(b <= a for b, a in zip(before, after, strict=True))
    # The stop's row is there already: new facts use it.
    stop = first.row_ids[0][0][-1]
    assert all(line[-1] == stop for item in plan.row_ids for line in item)
    rows = numbered(plan)
    ids = torch.tensor([[*old.wordings[0].prompt_ids]])
    assert find_rows(attachment, rows, ids, torch.ones_like(ids))[0, -1] == first.row_ids[0][0][0]


def test_rows_that_are_not_needed_have_no_address(attachment):
    dog = item_of(attachment, DOG)
    whole = make_plan(attachment, [dog], 0)
    needed = [number != 0 for number in range(whole.new_rows)]
    plan = make_plan(attachment, [dog], 0, needed)
    assert plan.row_ids[0][0][0] == NO_ROW
    assert 0 not in plan.addresses.values()
    assert plan.addresses.items() < whole.addresses.items()
    compact = plan.compact_rows(numbered(plan).values)
    assert compact.values.shape[0] == whole.new_rows - 1
    assert sorted(compact.values[:, 0].tolist()) == list(range(1, whole.new_rows))
    assert compact.row_index.max() == whole.new_rows - 2


def test_compact_rows_lead_to_the_same_values(attachment):
    plan = make_plan(attachment, [item_of(attachment, f) for f in (CAT, DOG)], 0)
    rows, compact = numbered(plan), plan.compact_rows(numbered(plan).values)
    assert torch.equal(rows.addresses, compact.addresses)
    assert torch.equal(rows.values[rows.row_index], compact.values[compact.row_index])
    assert bool((rows.addresses[1:] > rows.addresses[:-1]).all())
    assert rows.orders == compact.orders == plan.row_orders
    first_uses = list(dict.fromkeys(compact.row_index.tolist()))
    assert first_uses == sorted(first_uses)


def test_min_order_guard_and_whole_are_kept_with_each_fact(attachment):
    plain = make_plan(attachment, [item_of(attachment, DOG)], 0).orders[0][0]
    assert plain[0] == 3
    longer = make_plan(attachment, [item_of(attachment, DOG, min_order=5)], 0).orders[0][0]
    assert longer[0] == 5
    whole = make_plan(attachment, [item_of(attachment, DOG, whole=True)], 0)
    trigger = item_of(attachment, DOG).wordings[0].trigger_length
    assert whole.orders[0][0][0] == trigger
    guarded = item_of(attachment, DOG, guard=("of the dog is",))
    length = len(attachment.tokenizer("of the dog is")["input_ids"])
    assert make_plan(attachment, [guarded], 0).orders[0][0][0] >= length - 1 > 3


def test_facts_that_cannot_be_told_apart_are_refused(attachment):
    other = Fact(DOG.prompt, "Salt")
    with pytest.raises(ContradictionError, match="capitals, accents and spaces do not count"):
        make_plan(attachment, [item_of(attachment, f) for f in (DOG, other)], 0)
