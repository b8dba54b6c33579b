"""The comparing benchmarks ask what was not written, and tell what they found."""

from __future__ import annotations

import argparse
import json

import pytest
from benchmark_setting import Letters, evaluation_data, setting_of

from benchmarks import compare, locomo, paraphrase
from benchmarks.conversations import Observation, as_facts
from benchmarks.rewordings import cut_before, rewordings
from benchmarks.token_f1 import is_exact, token_f1

# PEFT asks transformers 5.23 in a way that is to end.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def test_statements_are_cut_before_their_answer():
    assert cut_before("I have a gluten allergy.", "gluten") == ("I have a", "gluten allergy")
    assert cut_before("My monthly rent is $1800.", "1800") == ("My monthly rent is", "$1800")
    assert cut_before("Home city: Oslo.", "Bergen") is None
    assert cut_before("Oslo is home.", "Oslo") is None


def test_what_was_written_is_never_asked(tmp_path):
    sentences, users, relations = rewordings(evaluation_data(tmp_path), 20, 24, 0)
    assert sentences.groups[0].questions == [("The spice I like is", "saffron")]
    assert users.questions
    assert ("I work", "Monday, Friday") in users.groups[0].facts
    assert relations.groups[0].facts == [
        ("The capital city of Norway is", "Copenhagen"),
        ("The capital city of Denmark is", "Oslo"),
    ]
    assert relations.groups[0].questions[0] == ("Norway's capital is called", "Copenhagen")


def test_without_data_the_generators_questions_are_asked(tmp_path, capsys):
    (only,) = rewordings(tmp_path, 20, 24, 0)
    assert only.questions
    assert len(only.groups[0].questions) == len(only.groups[0].facts) == 100
    assert capsys.readouterr().out.count("left out") == 3


def test_observations_are_cut_where_no_other_begins_so():
    texts = [
        "Ann is planning to paint a lake.",
        "Ann is planning a trip to Oslo.",
        "Bob has two dogs.",
        "Bob, has two DOGS.",
        "Too short.",
    ]
    facts = as_facts([Observation(text, frozenset()) for text in texts])
    assert facts == [
        ("Ann is planning to", "paint a lake"),
        ("Ann is planning a", "trip to Oslo"),
        ("Bob has two", "dogs"),
    ]


def test_words_in_common_are_counted():
    assert token_f1("The lakes, and hills!", "lakes and hills") == 1.0
    assert token_f1("two lakes", "lakes") == pytest.approx(2 / 3)
    assert token_f1("swim", "lakes") == 0.0
    assert is_exact("A lake.", "the lake")
    assert not is_exact("lake house", "house lake")


@pytest.mark.parametrize("benchmark", [compare, paraphrase, locomo])
def test_benchmarks_run_and_tell_on_a_tiny_model(
    tmp_path, monkeypatch, tiny_llama, tiny_tokenizer, benchmark
):
    monkeypatch.setattr(benchmark, "encoder_or_none", lambda folder, device: Letters())
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    options = parser.parse_args([])
    setting = setting_of(tiny_llama, tiny_tokenizer, evaluation_data(tmp_path), options)
    results = json.loads(json.dumps(benchmark.run(setting)))
    about = {"device": "cpu", "threads": 1, "commit": "c", "torch": "t", "transformers": "v"}
    page = benchmark.section([{**results, "model": "m", "dtype": "f", "environment": about}])
    assert page[0].startswith("## ")
    names = {
        compare: ("suffix trigrams", "LoRA, fair", "retrieval, top 5", "another user's table"),
        paraphrase: ("none", "memory", "in context", "retrieval, top 3"),
        locomo: ("memory", "retrieval, top 5 observations", "conversation in context"),
    }
    for name in names[benchmark]:
        assert any(line.startswith(f"| {name} |") for line in page), name
