import json

import pytest

from engram_transformers.errors import FactsFileError
from engram_transformers.facts import Fact
from engram_transformers.facts_file import parse_facts

CODE = Fact("My locker code is", "4471")
CITY = Fact("My sister lives in", "Trondheim", ("Home of my sister:",))
CHAT = Fact((("user", "Who am I?"),), "Ilse")

LIST = [
    ["My locker code is", "4471"],
    {"prompt": CITY.prompt, "answer": CITY.answer, "paraphrases": list(CITY.paraphrases)},
    {"prompt": [{"role": "user", "content": "Who am I?"}], "answer": "Ilse"},
]


def test_a_list_and_lines_hold_the_same_facts():
    lines = "\n\n".join(json.dumps(value) for value in LIST)
    assert parse_facts(json.dumps(LIST), "x") == parse_facts(lines, "x") == [CODE, CITY, CHAT]


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x1c"])
def test_lines_end_at_line_feeds_only(separator):
    lines = "\n".join(json.dumps(["a" + separator, "b"], ensure_ascii=False) for _ in range(2))
    if separator == "\x1c":  # a control character, which JSON wants escaped
        lines = "\n".join(json.dumps(["a" + separator, "b"]) for _ in range(2))
    assert parse_facts(lines, "x") == [Fact("a" + separator, "b")] * 2


def test_one_fact_needs_no_list():
    assert parse_facts('["My locker code is", "4471"]', "x") == [CODE]
    assert parse_facts('{"prompt": "My locker code is", "answer": "4471"}', "x") == [CODE]


def test_a_list_of_two_pairs_is_not_taken_for_a_pair():
    assert parse_facts('[["a", "b"], ["c", "d"]]', "x") == [Fact("a", "b"), Fact("c", "d")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "there are none in it"),
        ("", "there are none in it"),
        ("[[1, 2]", "line 1, column 8 is not JSON"),
        ('["a", "b"]\n{"prompt": }', "line 2, column 12 is not JSON"),
        ('["a", "b"]\n7', r"line 2 is 7, but must be \{"),
        ('[["a", "b"], ["a", "b", "c"]]', "fact 2 is"),
        ('[["a", 7]]', r'fact 1 is \["a", 7\], but must be'),
        ('[{"prompt": "a"}]', r"fact 1: .*missing: answer"),
        ('[{"prompt": "a", "answer": " "}]', "fact 1: .*the answer is empty"),
        ('[{"prompt": [], "answer": "b"}]', "fact 1: .*no messages"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text, problem):
    with pytest.raises(FactsFileError, match=problem) as caught:
        parse_facts(text, "facts.json")
    assert caught.value.source == "facts.json"
    assert caught.value.problem in str(caught.value)
