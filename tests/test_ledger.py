"""Promises of the ledger."""

from __future__ import annotations

import json

import pytest

from engram_transformers import Fact
from engram_transformers.ledger import Entry, Superseded

ENTRIES = [
    Entry(Fact("a", "b"), "2026-01-01T00:00:00+00:00", "auto", ((3, 0),)),
    Entry(
        Fact((("user", "Where?"),), "Home", ("c", (("user", "And?"), ("assistant", "So.")))),
        "2026-01-02T00:00:00+00:00",
        None,
        ((3,), (4,), (0,)),
        source="her letter",
        history=(Superseded("Away", "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"),),
        guard=("not here",),
        min_order=5,
        whole=True,
    ),
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_survives_json(entry):
    assert Entry.from_dict(json.loads(json.dumps(entry.to_dict()))) == entry


@pytest.mark.parametrize(
    "edit",
    [
        lambda fields: fields.pop("fact"),
        lambda fields: fields.pop("guard"),
        lambda fields: fields["fact"].pop("answer"),
        lambda fields: fields["fact"].update(prompt=""),
        lambda fields: fields["fact"].update(prompt=5),
        lambda fields: fields["fact"].update(prompt=[["user"]]),
        lambda fields: fields["fact"].update(answer=" "),
        lambda fields: fields["fact"].update(answer=None),
        lambda fields: fields.update(fact=None),
        lambda fields: fields.update(orders=5),
        lambda fields: fields.update(orders=[["x"]]),
        lambda fields: fields.update(history=[{"answer": "a"}]),
        lambda fields: fields.update(history=[5]),
        lambda fields: fields.update(min_order="many"),
    ],
)
def test_what_is_no_entry_is_refused(edit):
    fields = json.loads(json.dumps(ENTRIES[1].to_dict()))
    edit(fields)
    with pytest.raises(ValueError):  # noqa: PT011 - said by Python in places
        Entry.from_dict(fields)


def test_the_refusal_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"not an entry of a ledger \(KeyError\('fact'\)\)"):
        Entry.from_dict({})
