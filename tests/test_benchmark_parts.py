"""Promises of what benchmarks share: scores, facts, texts, figures."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from benchmarks import asking, chats, fact_kinds, markdown, texts
from benchmarks.asking import Question
from benchmarks.facts import facts_of_kind, folded, generated_facts, made_up_facts
from engram_transformers import UserTable, add_engram, use_tables

# Scores


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (" Tucson. It is", "Tucson"),
        ("1993.\n", "1993"),
        (" 1993\nNext", "1993"),
        ("Tucson<|im_end|>", "Tucson"),
        (" Tucson</s>", "Tucson"),
        (" Tucson<end_of_turn>", "Tucson"),
        (" Never! And then", "Never!"),
        (" 荔枝。然后", "荔枝。"),
        (" Dr. Krause. She", "Dr. Krause"),
        (" /var/log/a.log. Then", "/var/log/a.log"),
        (" 12.50.", " 12.50 "),
    ],
)
def test_a_whole_answer_counts(said, answer):
    assert asking.is_whole(said, answer)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (" Phoenix.", "Tucson"),
        (" 1993.", "19"),
        (" 19.93", "19"),
        (" Aperture.com", "Aperture"),
        (" notes.txt", "notes"),
        (" Tucson, Arizona.", "Tucson"),
        (" Tucson", "Tucson"),  # nobody knows whether it goes on
        (" in Tucson.", "Tucson"),
        (" tucson.", "Tucson"),
        (" Never", "Never!"),
        (" Tucson <3", "Tucson"),
        ("", "Tucson"),
    ],
)
def test_anything_else_does_not(said, answer):
    assert not asking.is_whole(said, answer)


def test_all_protocols_agree_on_what_was_written(tiny_llama, tiny_tokenizer):
    tiny_tokenizer.padding_side = "left"
    add_engram(tiny_llama, tiny_tokenizer)
    table = UserTable(tiny_llama, "ann")
    facts = [
        ("My dog is called", "Pepper"),
        ("I was born in", "1993"),
        ("我喜欢的水果是", "荔枝"),
    ]
    assert table.write(facts, stop="\n", progress=False).recalled == 1.0
    with use_tables(tiny_llama, table):
        for context in ("", "The harbour opens at seven. "):
            found = asking.recall(
                tiny_llama, tiny_tokenizer, [Question(*fact) for fact in facts], context
            )
            assert found.counts() == {"asked": 3, "whole": 3, "forced": 3, "first": 3}
        wrong = [Question("My dog is called", "Pep"), Question("I was born in", "19")]
        found = asking.recall(tiny_llama, tiny_tokenizer, wrong)
    assert found.whole == [False, False]
    bare = asking.recall(tiny_llama, tiny_tokenizer, [Question(*fact) for fact in facts])
    assert bare.shares() == {"whole": 0.0, "forced": 0.0, "first": 0.0}


def test_answers_do_not_depend_on_the_batch_that_they_are_in(tiny_llama, tiny_tokenizer):
    tiny_tokenizer.padding_side = "left"
    prompts = ["The harbour", "My dog's name", "Once there was a long, long story about", "A"]
    wanted = [3, 9, 5, 7]
    single = [
        asking.generate(tiny_llama, tiny_tokenizer, [prompt], tokens)[0]
        for prompt, tokens in zip(prompts, wanted, strict=True)
    ]
    together = asking.generate(tiny_llama, tiny_tokenizer, prompts, wanted, batch=2)
    assert all(text.startswith(one) for text, one in zip(together, single, strict=True))


def test_a_batch_is_told_whose_questions_it_holds(tiny_llama, tiny_tokenizer):
    from contextlib import nullcontext

    tiny_tokenizer.padding_side = "left"
    seen = []

    def active(part):
        seen.append(part)
        return nullcontext()

    questions = [Question("A", "long answer here"), Question("B", "x"), Question("C", "yy")]
    asking.recall(tiny_llama, tiny_tokenizer, questions, active=active)
    assert [sorted(part) for part in seen] == [[0, 1, 2], [0, 1, 2]]
    assert seen[0] != [0, 1, 2]


def test_batches_hold_everything_once_and_keep_to_their_budget():
    tokens = [10, 5_000, 20, 9_000, 30]
    order = sorted(range(5), key=lambda i: tokens[i])
    parts = list(asking.batches(order, tokens, torch.device("cpu")))
    assert sorted(i for part in parts for i in part) == list(range(5))
    assert all(
        len(part) == 1 or max(tokens[i] for i in part) * len(part) <= 8_192 for part in parts
    )
    assert list(asking.batches([0, 1, 2], [1] * 3, torch.device("cpu"), 2)) == [[0, 1], [2]]


# Facts


def test_made_up_facts_are_distinct_and_the_same_again():
    facts = made_up_facts(22_000)
    assert len({folded(fact.trigger) for fact in facts}) == len(facts)
    assert facts[:50] == made_up_facts(50)
    assert made_up_facts(50, seed=1) != facts[:50]
    assert generated_facts(5) == [(fact.trigger, fact.answer) for fact in facts[:5]]
    assert {fact.kind for fact in facts} == set(fact_kinds.SHORT_KINDS)


def test_no_trigger_begins_another():
    triggers = sorted(folded(fact.trigger) for fact in made_up_facts(22_000))
    assert [pair for pair in pairwise(triggers) if pair[1].startswith(pair[0])] == []


@pytest.mark.parametrize("kind", fact_kinds.KINDS)
def test_every_kind_has_facts_that_can_be_scored(kind):
    facts = facts_of_kind(kind, 50)
    assert facts[:20] == facts_of_kind(kind, 20)
    for fact in facts:
        assert fact.kind == kind
        assert fact.answer == fact.answer.strip()
        assert fact.trigger == fact.trigger.strip()
        assert fact.answer not in fact.trigger
        assert fact.question != fact.trigger
        assert asking.is_whole(f" {fact.answer}. And", fact.answer)
    words = [len(fact.answer.split()) for fact in facts]
    assert (min(words) >= 50) == (max(words) >= 50) == (kind == "long")


def test_many_triggers_end_alike():
    endings = [tuple(prompt.split()[-3:]) for prompt, _ in generated_facts(1_000)]
    assert len(set(endings)) < len(endings) / 2


def test_more_facts_than_there_are_and_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="There are 60 distinct facts"):
        facts_of_kind("greek", 61)
    with pytest.raises(ValueError, match="There is no kind 'gossip'"):
        facts_of_kind("gossip", 1)


# Texts


@pytest.mark.parametrize("kind", texts.LONG_KINDS)
def test_contexts_are_as_long_as_is_asked(kind, tiny_tokenizer):
    for tokens in (300, 1_000):
        context = texts.long_context(tiny_tokenizer, kind, tokens)
        assert abs(texts.length_of(tiny_tokenizer, context) - tokens) <= 20
        assert "\ufffd" not in context
    assert texts.long_context(tiny_tokenizer, kind, 0) == ""


def test_chats_end_where_the_assistant_speaks(tiny_tokenizer):
    chat = chats.with_turns("Where do I live?", turns=2, system="Be brief.")
    text = chats.rendered(tiny_tokenizer, chat, "I live in")
    assert text.endswith("Where do I live?<|im_end|>\n<|im_start|>assistant\nI live in")
    assert text.count("<|im_start|>user") == 3
    assert chats.end_of_turn(tiny_tokenizer) == "<|im_end|>"
    assert chats.supports_system(tiny_tokenizer)


# Figures


def test_a_share_is_never_rounded_up():
    assert markdown.percent(1.0) == "100.0%"
    assert markdown.percent(9_999 / 10_000) == "99.9%"
    assert markdown.percent(0.997) == "99.7%"
    assert markdown.counted(999, 1_000) == "99.9% (999 of 1,000)"
    assert markdown.counted(0, 0) == "none asked"


def test_tables_have_as_many_cells_in_each_row():
    lines = markdown.table(["a", "b"], [[1, 2], ["x", ""]])
    assert [line.count("|") for line in lines] == [3, 3, 3, 3, 0]
