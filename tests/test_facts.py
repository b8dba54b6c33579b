"""Promises of facts: every form that people have them in becomes the same, or is refused."""

from __future__ import annotations

import pytest

from engram_transformers import Fact
from engram_transformers.errors import EmptyFactError, EngramError, FactError
from engram_transformers.facts import as_facts, as_prompt

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where am I?"}]
PAIRS = (("system", "Be brief."), ("user", "Where am I?"))
ANSWERED = [*CHAT, {"role": "assistant", "content": "Home"}]


@pytest.mark.parametrize(
    ("given", "facts"),
    [
        (Fact("a", "b"), [Fact("a", "b")]),
        (("a", "b"), [Fact("a", "b")]),
        ({"prompt": "a", "answer": "b"}, [Fact("a", "b")]),
        ({"prompt": "a", "answer": "b", "paraphrases": ["c"]}, [Fact("a", "b", ("c",))]),
        (ANSWERED, [Fact(PAIRS, "Home")]),
        (tuple(ANSWERED), [Fact(PAIRS, "Home")]),
        ((CHAT, "Home"), [Fact(PAIRS, "Home")]),
        ({"prompt": CHAT, "answer": "Home"}, [Fact(PAIRS, "Home")]),
        ((PAIRS, "Home"), [Fact(PAIRS, "Home")]),
        ([(PAIRS, "Home"), ("a", "b")], [Fact(PAIRS, "Home"), Fact("a", "b")]),
        ([Fact("c", "d"), ANSWERED], [Fact("c", "d"), Fact(PAIRS, "Home")]),
        ((("a", "b"), ("c", "d")), [Fact("a", "b"), Fact("c", "d")]),
        ((fact for fact in [("a", "b")]), [Fact("a", "b")]),
        ([], []),
    ],
)  # fmt: skip
def test_facts_are_given_in_many_forms(given, facts):
    assert as_facts(given) == facts


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("a text", FactError, "where its value begins"),
        (b"bytes", FactError, "give a Fact"),
        (5, FactError, "5 can't be written: give a Fact"),
        (None, FactError, "None can't be written"),
        ([5], FactError, "give a Fact, a .prompt, answer. pair, or a dictionary"),
        ([("a", "b", "c")], FactError, "or a dictionary with these keys"),
        ([("a", 5)], FactError, "or a dictionary with these keys"),
        ({"prompt": "a"}, FactError, "missing: answer"),
        ({"prompt": "a", "answer": "b", "tags": 1}, FactError, "unknown: tags"),
        ({"answers": "b", "prompt": "a"}, FactError, "missing: answer; unknown: answers"),
        ({"prompt": "a", "answer": 5}, FactError, "the answer is not text"),
        ({"prompt": 5, "answer": "b"}, FactError, "a prompt is text or a list of chat messages"),
        (CHAT, FactError, "the last message of a chat must be the assistant's answer"),
        (ANSWERED[-1:], EmptyFactError, "the prompt has no messages"),
        (("", "b"), EmptyFactError, "the prompt is empty"),
        ((" \n", "b"), EmptyFactError, "the prompt is empty"),
        (("a", ""), EmptyFactError, "the answer is empty"),
        (("a", "  "), EmptyFactError, "the answer is empty"),
        ({"prompt": "a", "answer": "b", "paraphrases": ["c", ""]}, EmptyFactError, "is empty"),
        ([{"role": "user", "content": " "}, ANSWERED[-1]], EmptyFactError, "the chat has no text"),
        ([{"role": "user"}, ANSWERED[-1]], FactError, "message needs a role and a content"),
        ([{"role": "", "content": "a"}, ANSWERED[-1]], FactError, "needs a role"),
        ([{"role": "user", "content": ["a"]}, ANSWERED[-1]], FactError, "both text"),
        ({"prompt": ["a"], "answer": "b"}, FactError, "each chat message needs a role"),
    ],
)  # fmt: skip
def test_what_is_no_fact_is_refused_by_name(given, error, message):
    with pytest.raises(error, match=message) as seen:
        as_facts(given)
    assert type(seen.value) is error
    assert isinstance(seen.value, EngramError)
    assert isinstance(seen.value, ValueError)
    assert hasattr(seen.value, "fact")


def test_one_bad_fact_among_good_ones_is_refused():
    with pytest.raises(EmptyFactError):
        as_facts([("a", "b"), ("c", "")])


def test_chat_messages_become_pairs_that_can_be_hashed():
    fact = Fact(CHAT, "Home")  # pyright: ignore
    assert fact.prompt == PAIRS
    assert Fact(PAIRS, "Home") == fact
    assert hash(fact) == hash(Fact(PAIRS, "Home"))
    assert as_prompt(CHAT) == PAIRS
    assert as_prompt("a") == "a"


def test_paraphrases_are_distinct_and_not_the_prompt():
    fact = Fact("a", "b", ("c", "a", "c", "d"))
    assert fact.paraphrases == ("c", "d")
    assert fact.prompts == ("a", "c", "d")
    assert Fact("a", "b", "c").paraphrases == ("c",)  # pyright: ignore
