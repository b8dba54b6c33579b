"""The rows of facts in a table are found again, or it is said that they can't be."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from engram_transformers import UserTable, add_engram, explain
from engram_transformers.attachment import require_attachment
from engram_transformers.errors import TableMismatchError
from engram_transformers.located import locate
from engram_transformers.plan import NO_ROW

CHAT = ([{"role": "user", "content": "Where do I live?"}], "Ghent")
TEXT = ("My lucky number is", "27")
WITH_MORE_BEHIND = "{{ '<|im_end|>' }}{% if add_generation_prompt %}"
WITH_ANOTHER_TOKEN = "<|im_start|>assistant:"


@pytest.fixture
def table(tiny_llama, tiny_tokenizer):
    model = add_engram(tiny_llama, copy.deepcopy(tiny_tokenizer))
    table = UserTable(model, "ada")
    assert table.write([CHAT, TEXT], progress=False).recalled == 1.0
    return table


def state_of(table):
    rows = table.rows
    return rows.addresses.tolist(), rows.values.tolist(), table.entries, table.version


def test_the_rows_of_facts_are_found_again(table):
    attachment = table.attachment
    found = locate(attachment, table, table.entries)
    addresses = {a for place in found for line in place.addresses for a in line}
    assert addresses == set(table.rows.addresses.tolist())
    rows = {i for place in found for line in place.row_ids for i in line}
    assert rows == set(table.rows.row_index.tolist())
    for place in found:
        assert [len(line) for line in place.row_ids] == [len(w.targets) for w in place.wordings]


def test_positions_without_a_row_have_none(table):
    entry = table.entries[0]
    without = dataclasses.replace(entry, orders=tuple((0,) * len(o) for o in entry.orders))
    (found,) = locate(table.attachment, table, [without])
    assert {a for line in found.addresses for a in line} == {None}
    assert {i for line in found.row_ids for i in line} == {NO_ROW}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{% if add_generation_prompt %}", WITH_MORE_BEHIND),
        ("<|im_start|>assistant\n", WITH_ANOTHER_TOKEN),
    ],
)
@pytest.mark.parametrize(
    "action",
    [
        lambda table: table.erase(TEXT[0]),
        lambda table: table.write(("I work in", "Bruges"), progress=False),
        lambda table: explain(table.attachment.model, TEXT[0], table),
    ],
    ids=["erase", "write", "explain"],
)
def test_another_chat_template_is_noticed_and_nothing_is_lost(table, action, before, after):
    tokenizer = require_attachment(table.attachment.model).tokenizer
    template = tokenizer.chat_template
    tokenizer.chat_template = template.replace(before, after)
    assert tokenizer.chat_template != template
    state = state_of(table)
    with pytest.raises(TableMismatchError, match="other tokens than when it was written"):
        action(table)
    assert state_of(table) == state
    tokenizer.chat_template = template
    assert table.erase(TEXT[0]).facts_left == 1


def test_what_stands_before_the_last_message_may_change(table):
    tokenizer = require_attachment(table.attachment.model).tokenizer
    tokenizer.chat_template = "<|im_start|>system\nToday is Monday.<|im_end|>\n" + (
        tokenizer.chat_template
    )
    assert table.erase(TEXT[0]).facts_left == 1
    assert table.write(TEXT, progress=False).recalled == 1.0


def test_a_table_whose_chats_changed_can_be_erased_as_a_whole(table):
    tokenizer = require_attachment(table.attachment.model).tokenizer
    tokenizer.chat_template += "!"
    assert table.erase(all=True).facts_left == 0
    assert not table.has_rows
