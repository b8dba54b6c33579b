"""Promises of statements: the value ends them, and what has a name can be recalled by it."""

from __future__ import annotations

import pytest
import tiny

from engram_transformers import Fact, UserTable, add_engram, attach_shared_lora, named_fact
from engram_transformers.errors import EmptyFactError, FactError
from engram_transformers.facts import as_facts
from engram_transformers.skill.statements import fact_of, with_recall_keys

# PEFT (0.19) asks transformers (5.23) in a way that is going out of use.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.mark.parametrize(
    ("statement", "prompt", "answer"),
    [
        ("My dentist is on Main Street.", "My dentist is", "on Main Street"),
        ("my shoe size is 44", "my shoe size is", "44"),
        ("Green is my favourite colour.", "My favourite colour is", "Green"),
        ("Home city: Ghent", "My home city is", "Ghent"),
        ("PIN: 4471", "My PIN is", "4471"),
        ("I was born in 1993.", "I was born in", "1993"),
        ("I live in  Portland.", "I live in", "Portland"),
        ("I drive a red van.", "I drive", "a red van"),
        ("I also enjoy chess.", "I also enjoy", "chess"),
        ("I'm allergic to nuts.", "I'm allergic to", "nuts"),
        ("Dr. Patel works at Globex.", "Dr. Patel works at", "Globex"),
        ("Taylor was born in 1982.", "Taylor was born in", "1982"),
        ("The model year of my car is 2019.", "The model year of my car is", "2019"),
        ("Mead is brewed from honey.", "Mead is brewed from", "honey"),
        ("Rex", None, None),
        ("My dog is", None, None),
        ("Ann enjoys chess.", None, None),
    ],
)
def test_a_statement_ends_with_its_value_or_is_refused(statement, prompt, answer):
    if prompt is None:
        with pytest.raises(FactError, match="where its value begins"):
            fact_of(statement)
        return
    fact = fact_of(statement)
    assert (fact.prompt, fact.answer) == (prompt, answer)


def test_a_statement_without_text_is_refused():
    with pytest.raises(EmptyFactError, match="statement is empty"):
        fact_of("  ")


def test_statements_are_facts_wherever_facts_are_taken():
    facts = as_facts(["I live in Ghent.", ("My dog is", "Rex")])
    assert facts == [Fact("I live in", "Ghent"), Fact("My dog is", "Rex")]
    assert as_facts("I live in Ghent.") == facts[:1]


@pytest.mark.parametrize(
    ("prompt", "key"),
    [
        ("What is my birth year?", "My birth year is"),
        ("What's my dog called?", "My dog is"),
        ("Who is my dentist?", "My dentist is"),
        ("What are my work days?", "My work days is"),
        ("do you know my shoe size?", "My shoe size is"),
        ("My work days are", "My work days is"),
        ([("user", "Where is my gym?")], "My gym is"),
        ("How old am I?", None),
        ("I live in", None),
        ("My dog is", None),
    ],
)
def test_what_is_asked_by_name_gets_the_key_that_the_skill_recites(prompt, key):
    (fact,) = with_recall_keys([Fact(prompt, "1")])
    assert fact.paraphrases == (() if key is None else (key,))


def test_a_key_belongs_to_one_fact_only():
    named = named_fact("dog", "Rex")
    asked = Fact("What is my dog called?", "Ben")
    assert with_recall_keys([asked, named]) == [asked, named]
    assert with_recall_keys([asked], [named]) == [asked]
    first, second = with_recall_keys([asked, Fact("Who is my dog?", "Rex")])
    assert first.paraphrases == ("My dog is",)
    assert second.paraphrases == ()


def test_keys_are_added_where_there_is_a_skill_only(tmp_path):
    from peft import LoraConfig, get_peft_model

    lora = get_peft_model(tiny.tiny_model("llama"), LoraConfig(target_modules=["q_proj"], r=2))
    lora.save_pretrained(str(tmp_path))
    question = Fact("What is my shoe size?", "44")
    for has_skill in (False, True):
        model = add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer())
        if has_skill:
            attach_shared_lora(model, tmp_path)
        table = UserTable(model, "ann")
        assert table.write(question).recalled == 1.0
        assert table.facts[0].paraphrases == (("My shoe size is",) if has_skill else ())
        if has_skill:
            table.write(Fact("What is my shoe size?", "45"))
            assert [fact.prompts for fact in table.facts] == [
                ("What is my shoe size?", "My shoe size is")
            ]
