"""Promises of reciting: where the model stops it is helped on, and what is put there is shown."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tiny
import torch
from transformers.generation.streamers import BaseStreamer

from engram_transformers import UserTable, add_engram, named_fact, recall_key
from engram_transformers.sequences import Encoder
from engram_transformers.skill.keys import name_of
from engram_transformers.skill.reciting import Recitation, recite
from engram_transformers.skill.resolving import (
    Resolved,
    Unresolved,
    _say_one_of,
    resolve,
    triggers_of,
)
from engram_transformers.skill.sums import result_of


@pytest.fixture
def patched():
    model, tokenizer = tiny.tiny_model("llama"), tiny.tiny_tokenizer()
    add_engram(model, tokenizer)
    return model, Encoder(tokenizer)


@pytest.fixture
def table(patched):
    """Two facts; rows are of no account here, since what the model says is scripted."""
    model, _ = patched
    table = UserTable(model, "ann")
    assert table.write([named_fact("phone", "71"), named_fact("dog", "52")]).recalled == 1.0
    return table


class Script:
    """In place of a model's `generate`: says what is written, and remembers what it was given."""

    def __init__(self, encoder, *calls):
        self.encoder = encoder
        self.calls = list(calls)
        self.prompts = []

    def __call__(self, input_ids, attention_mask, streamer=None, **options):
        tokenizer = self.encoder.tokenizer
        self.prompts.append(
            [
                tokenizer.decode(row[keep.bool()].tolist())
                for row, keep in zip(input_ids, attention_mask, strict=True)
            ]
        )
        said, is_sure = [], []
        for text in self.calls.pop(0):
            words, mark, rest = text.partition("<end>")
            said.append(self.encoder(words) + ([tokenizer.eos_token_id] if mark else []))
            is_sure.append(rest != "?")
        longest = max(map(len, said)) + 1
        rows = [ids + [tokenizer.eos_token_id] * (longest - len(ids)) for ids in said]
        new = torch.tensor(rows)
        if streamer is not None:
            streamer.put(input_ids)
            for token in said[0]:
                streamer.put(torch.tensor([token]))
            streamer.end()
        sequences = torch.cat([input_ids, new], dim=1)
        if not options.get("output_logits"):
            return sequences
        logits = torch.zeros(*new.shape, len(tokenizer)).scatter(-1, new[..., None], 100.0)
        logits[~torch.tensor(is_sure)] = 0.0
        return SimpleNamespace(sequences=sequences, logits=logits.unbind(1))


def run(model, encoder, script, *entries, streamer=None, with_names=False, **options):
    model.generate = script
    found = [
        Recitation(encoder, f"Q{n}?", "plain", entry, with_names=with_names)
        for n, entry in enumerate(entries)
    ]
    settings = {"resolving": True, "calculating": False, "max_new_tokens": 60, **options}
    recite(model, encoder, found, streamer=streamer, **settings)
    assert not script.calls
    return found


def test_where_a_name_is_none_of_the_owners_these_are_shown_and_it_starts_again(patched, table):
    model, encoder = patched
    script = Script(
        encoder, [" My dog is 52. My mobile is unknown."], [" My phone is 71. Answer: 71<end>"]
    )
    (one,) = run(model, encoder, script, table)
    assert one.text == " My phone is 71. Answer: 71"
    assert one.resolved == [Resolved("My mobile is", "My phone is")]
    first, again = script.prompts
    assert "phone" not in first[0]
    assert "Q0?" in again[0]
    assert "phone; dog" in again[0]  # names only
    assert not set("75") & set(again[0])
    assert one.has_ended


def test_what_the_owner_does_not_have_stays_unknown(patched, table):
    model, encoder = patched
    calls = [" My boat is unknown."], [" None of these. Answer: I don't know.<end>"]
    (one,) = run(model, encoder, Script(encoder, *calls), table)
    assert one.text == " None of these. Answer: I don't know."
    assert one.resolved == []


def test_it_starts_again_once_and_then_a_listed_name_takes_the_place_of_others(patched, table):
    model, encoder = patched
    calls = (
        [" My boat is unknown."],
        [" My mobile is unknown."],
        [" My phone is"],
        [" 71. Answer: 71<end>"],
    )
    (one,) = run(model, encoder, Script(encoder, *calls), table)
    assert one.text == " My phone is 71. Answer: 71"
    boat, mobile = (Resolved(said, "My phone is") for said in ("My boat is", "My mobile is"))
    assert one.resolved == [boat, mobile]


def test_what_was_taken_back_counts_as_said(patched, table):
    model, encoder = patched
    begun = encoder(" My boat is unknown.")
    calls = [" My boat is unknown."], [" My dog is"]
    (one,) = run(model, encoder, Script(encoder, *calls), table, max_new_tokens=len(begun) + 2)
    assert not one.has_ended
    assert one.length == len(begun) + 2


def test_a_name_that_is_not_listed_is_replaced_by_the_one_that_is_chosen(patched, table):
    model, encoder = patched
    script = Script(
        encoder,
        [" My mobile is unknown."],
        [" My phone is"],
        [" 71. Answer: 71<end>"],
    )
    (one,) = run(model, encoder, script, table, with_names=True)
    assert one.text == " My phone is 71. Answer: 71"
    assert one.resolved == [Resolved("My mobile is", "My phone is")]
    assert script.prompts[2][0].endswith("My phone is")


def test_with_more_names_than_are_shown_it_does_not_start_again(patched):
    model, encoder = patched
    table = UserTable(model, "ann")
    table.write([named_fact(f"item {number}", "71") for number in range(45)])
    calls = (
        [" My dog is unknown."],
        [" My item 2 is", " My item 44 is"],
        [" My item 44 is"],
        [" 71. Answer: 71<end>"],
    )
    (one,) = run(model, encoder, Script(encoder, *calls), table)
    assert one.resolved == [Resolved("My dog is", "My item 44 is")]


def test_where_none_is_meant_it_stays_unknown(patched, table):
    model, encoder = patched
    calls = [" My boat is unknown."], [" My dog is<end>?"], [" Answer: I don't know.<end>"]
    (one,) = run(model, encoder, Script(encoder, *calls), table, with_names=True)
    assert one.text == " My boat is unknown. Answer: I don't know."
    assert one.resolved == []


def test_what_was_said_before_an_unknown_name_stays(patched, table):
    model, encoder = patched
    calls = (
        [" My dog is 52. My mobile is unknown."],
        [" My phone is"],
        [" 71. Answer: no<end>"],
    )
    (one,) = run(model, encoder, Script(encoder, *calls), table, with_names=True)
    assert one.text == " My dog is 52. My phone is 71. Answer: no"


def test_what_goes_on_behind_nothing_may_have_been_meant_from_the_beginning(patched, table):
    model, encoder = patched
    begun = [" My dog is 52. My mobile is unknown."], [" My phone is<end>?"]
    script = Script(encoder, *begun, [" My phone is"], [" 71. Answer: 71<end>"])
    (one,) = run(model, encoder, script, table, with_names=True)
    assert one.text == " My phone is 71. Answer: 71"
    # What was said already would only be said again.
    script = Script(encoder, *begun, [" My dog is"], [" Answer: I don't know.<end>"])
    (one,) = run(model, encoder, script, table, with_names=True)
    assert one.text == " My dog is 52. My mobile is unknown. Answer: I don't know."
    assert one.resolved == []


def test_without_names_to_choose_from_nothing_is_asked(patched):
    model, encoder = patched
    calls = [" My mobile is unknown."], [" Answer: I don't know.<end>"]
    run(model, encoder, Script(encoder, *calls), None)
    empty = UserTable(model, "empty")
    run(model, encoder, Script(encoder, *calls), [empty])


def test_a_value_that_is_called_unknown_is_a_value(patched):
    model, encoder = patched
    table = UserTable(model, "ann")
    table.write(named_fact("phone", "unknown"))
    calls = [" My phone is unknown."], [" Answer: unknown<end>"]
    (one,) = run(model, encoder, Script(encoder, *calls), table)
    assert one.resolved == []


def test_names_are_not_resolved_if_that_is_switched_off(patched, table):
    model, encoder = patched
    script = Script(encoder, [" My mobile is unknown. Answer: I don't know.<end>"])
    (one,) = run(model, encoder, script, table, resolving=False)
    assert one.text.endswith("Answer: I don't know.")


def test_questions_of_a_batch_go_on_apart(patched, table):
    model, encoder = patched
    script = Script(
        encoder,
        [" My dog is 52. Answer: 52<end>", " My mobile is unknown."],
        [" My phone is 71. Answer: 71<end>"],
    )
    first, second = run(model, encoder, script, table, table)
    assert first.text == " My dog is 52. Answer: 52"
    assert second.text == " My phone is 71. Answer: 71"
    assert [len(prompts) for prompts in script.prompts] == [2, 1]
    assert "Q1?" in script.prompts[1][0]


def test_sums_are_completed_if_that_is_asked_for(patched, table):
    model, encoder = patched
    script = Script(encoder, [" 2026 - 1993 ="], [" so ="], [". Answer: 33<end>"])
    (one,) = run(model, encoder, script, table, calculating=True)
    assert one.text == " 2026 - 1993 = 33 so =. Answer: 33"


def test_a_model_that_says_no_end_is_stopped(patched, table):
    model, encoder = patched
    (one,) = run(model, encoder, Script(encoder, [" My dog"]), table, max_new_tokens=2)
    assert not one.has_ended
    assert len(one.said) <= 2


@pytest.mark.parametrize("more", range(1, 4))
def test_what_is_put_there_counts_as_said(patched, table, more):
    model, encoder = patched
    begun = encoder(" 2026 - 1993 =")
    script = Script(encoder, [" 2026 - 1993 ="], [" so it is"])
    script.calls = script.calls[: 1 + (more > len(encoder(" 33")))]
    budget = len(begun) + more
    (one,) = run(model, encoder, script, table, calculating=True, max_new_tokens=budget)
    assert not one.has_ended
    assert one.text.startswith(" 2026 - 1993 = 33")


class Kept(BaseStreamer):
    def __init__(self, tokenizer):
        self.tokenizer, self.ids, self.ends = tokenizer, [], 0

    def put(self, value):
        self.ids += value.reshape(-1).tolist()

    def end(self):
        self.ends += 1

    @property
    def text(self):
        return self.tokenizer.decode(self.ids)


def test_a_streamer_gets_the_question_once_and_all_that_is_said(patched, table):
    model, encoder = patched
    kept = Kept(encoder.tokenizer)
    calls = [" My mobile is unknown."], [" My phone is"], [" 71. Answer: 71<end>"]
    run(model, encoder, Script(encoder, *calls), table, streamer=kept, with_names=True)
    assert kept.ends == 1
    assert kept.text.count("Q0?") == 1
    assert " My mobile is unknown. My phone is 71. Answer: 71" in kept.text


def test_of_many_names_the_chosen_ones_are_chosen_from_again(patched):
    model, encoder = patched
    triggers = tuple(recall_key(f"thing {number}") for number in range(100))
    script = Script(
        encoder,
        [" My thing 3 is", " My thing 41 is", " My thing 80 is"],
        [" My thing 41 is"],
    )
    model.generate = script
    asked = [Unresolved("Which?", (), "My item is", triggers)]
    assert resolve(model, encoder, asked, "plain") == ["My thing 41 is"]
    assert "thing 3; thing 41; thing 80" in script.prompts[1][0]
    assert "thing 5" not in script.prompts[1][0]


def test_only_triggers_of_the_owner_may_be_said(patched):
    model, encoder = patched
    triggers = ("My dog is", "My dog is a", "My old cat is")
    none = encoder(" None")[0]
    said = _say_one_of(model, encoder, [encoder("Q:")] * 2, [
        {tuple(encoder(f" {trigger}")): trigger for trigger in triggers},
        {tuple(encoder(" My cat is")): "My cat is"},
    ], [none, none])  # fmt: skip
    assert said[0].trigger in triggers
    assert said[1].trigger == "My cat is"
    assert 0 <= said[1].probability < 0.5
    # A model that was never trained to choose takes none of them.
    asked = Unresolved("Which?", (), "My hound is", triggers)
    assert resolve(model, encoder, [asked], "plain") == [None]


def test_triggers_are_those_of_all_tables_that_are_read(patched, table):
    model, _ = patched
    other = UserTable(model, "house")
    other.write([("The gate closes at", "71"), ([{"role": "user", "content": "When?"}], "52")])
    assert triggers_of([table, other]) == ("My phone is", "My dog is", "The gate closes at")
    assert triggers_of(None) == ()


def test_a_name_is_what_a_recall_key_asks_by():
    for name in ("birth year", "sister's dog"):
        assert name_of(recall_key(name)) == name
    assert name_of("I live in") == "I live in"
    assert name_of("My is") == "My is"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("2026 - 1993 =", "33"),
        ("it is 08:15 + 25 minutes =", "08:40"),
        ("00:10 - 20 =", "23:50"),
        ("5 x 80 =", "400"),
        ("7 / 2 =", "3.5"),
        ("7 / 0 =", None),
        ("so 5 =", None),
        ("=", None),
        ("5 + =", None),
        ("2026 - 1993", None),
    ],
)
def test_a_sum_is_completed_exactly(text, result):
    assert result_of(text) == result
