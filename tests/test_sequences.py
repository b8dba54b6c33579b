"""Promises of wordings: what is read, and what is said at which position."""

from __future__ import annotations

import copy

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from engram_transformers import Fact
from engram_transformers.canonical import canonical_ids
from engram_transformers.errors import EmptyFactError, FactError, TriggerTooLongError
from engram_transformers.sequences import prompt_ids, prompt_text, wordings

TURN_END = 4  # <|im_end|>
TOKENIZER = tiny.tiny_tokenizer()
CANONICAL: list[int] = canonical_ids(TOKENIZER, tiny.VOCAB_SIZE).tolist()
ITSELF = list(range(tiny.VOCAB_SIZE))


def wording_of(tokenizer, prompt, answer, stop="auto", longest=10_000):
    return wordings(tokenizer, Fact(prompt, answer), stop, longest, CANONICAL)[0]


@pytest.fixture
def with_bos(tiny_tokenizer):
    """The tiny tokenizer, with a start token in front of every text and an end token behind."""
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A <|eos|>", special_tokens=[("<|bos|>", 0), ("<|eos|>", 1)]
    )
    return tokenizer


@pytest.mark.parametrize(
    ("prompt", "answer", "text"),
    [
        ("My dog is", "Pepper", "My dog is Pepper."),
        ("My dog is ", "Pepper", "My dog is Pepper."),
        ("My dog is", " Pepper", "My dog is Pepper."),
        ("My dog is (", "Pepper", "My dog is (Pepper."),
        ('He said "', "yes", 'He said "yes.'),
        ("It costs $", "5", "It costs $5."),
        ("The answer", ", he said", "The answer, he said."),
        ("What is it?", "Why!", "What is it? Why!"),
        ("It is", "a list:\n", "It is a list:\n"),
        ("犬の名前は", "ペッパー", "犬の名前はペッパー。"),
        ("犬の名前は", "ペッパー。", "犬の名前はペッパー。"),
    ],
)
def test_an_answer_follows_its_prompt_as_prose_would(tiny_tokenizer, prompt, answer, text):
    wording = wording_of(tiny_tokenizer, prompt, answer)
    assert tiny_tokenizer.decode(wording.prompt_ids) == prompt
    assert tiny_tokenizer.decode(wording.prompt_ids + wording.targets) == text
    assert wording.prompt_ids == tuple(tiny_tokenizer(prompt)["input_ids"])


def test_the_stop_is_what_was_asked_for(tiny_tokenizer):
    def stop(value):
        return tiny_tokenizer.decode(wording_of(tiny_tokenizer, "It is", "so", value).stop_ids)

    assert stop("auto") == "."
    assert stop("\n") == "\n"
    assert stop(" and then") == " and then"
    assert stop(None) == ""
    ended = wording_of(tiny_tokenizer, "It is", "so.", "auto")
    assert ended.stop_ids == ()
    assert tiny_tokenizer.decode(ended.answer_ids) == " so."


def test_chats_go_through_the_template(tiny_tokenizer):
    prompt = (("user", "Where am I?"),)
    wording = wording_of(tiny_tokenizer, prompt, "Home")
    rendered = tiny_tokenizer.apply_chat_template(
        [{"role": "user", "content": "Where am I?"}], add_generation_prompt=True, return_dict=True
    )
    assert list(wording.prompt_ids) == rendered["input_ids"]
    assert wording.start == 0
    assert tiny_tokenizer.decode(wording.answer_ids) == "Home"
    assert tiny_tokenizer.decode(wording.stop_ids) == "."
    ended = wording_of(tiny_tokenizer, prompt, "Home", "<|im_end|>")
    assert ended.stop_ids == (TURN_END,)


def test_what_the_tokenizer_puts_in_front_is_read_but_not_addressed(with_bos):
    wording = wording_of(with_bos, "My dog is", "Pepper")
    assert wording.prompt_ids[0] == 0
    assert 1 not in wording.prompt_ids  # an end of text in front of the answer would be wrong
    assert wording.start == 1
    assert wording.addressed_ids == wording.prompt_ids[1:] + wording.targets[:-1]
    assert wording.trigger_length == len(wording.prompt_ids) - 1
    assert with_bos.decode(wording.prompt_ids[1:]) == "My dog is"
    chat = wording_of(with_bos, (("user", "Hi"),), "Hello")
    assert 0 not in chat.prompt_ids  # templates write such tokens themselves


def test_a_fact_has_a_wording_for_each_prompt(tiny_tokenizer):
    fact = Fact("My dog is", "Pepper", ("The dog is called", (("user", "The dog?"),)))
    made = wordings(tiny_tokenizer, fact, "auto", 100, CANONICAL)
    assert [prompt_ids(tiny_tokenizer, prompt)[0] for prompt in fact.prompts] == [
        list(wording.prompt_ids) for wording in made[:3]
    ]
    assert [wording.is_chat for wording in made[:3]] == [False, False, True]
    assert made[0].answer_ids == made[1].answer_ids
    assert made[2].answer_ids != made[0].answer_ids  # a turn begins without a space


def test_words_that_are_cut_otherwise_behind_a_space_have_one_wording_more(tiny_tokenizer):
    def texts(prompt, canonical):
        made = wordings(tiny_tokenizer, Fact(prompt, "Pepper"), "auto", 100, canonical)
        assert len({wording.targets for wording in made}) == 1
        return [tiny_tokenizer.decode(wording.prompt_ids) for wording in made]

    assert texts("The dog is", ITSELF) == ["The dog is", " The dog is"]
    assert texts(" The dog is", ITSELF) == [" The dog is"]
    spaced = tuple(CANONICAL[i] for i in tiny_tokenizer(" The dog is")["input_ids"])
    alone = tuple(CANONICAL[i] for i in tiny_tokenizer("The dog is")["input_ids"])
    expected = ["The dog is"] if spaced == alone else ["The dog is", " The dog is"]
    assert texts("The dog is", CANONICAL) == expected


@settings(max_examples=150, deadline=None)
@given(
    prompt=st.text(min_size=1, max_size=20).filter(lambda text: text.strip()),
    answer=st.text(min_size=1, max_size=12).filter(lambda text: text.strip()),
)
def test_the_tokens_spell_prompt_and_answer_whatever_the_text(prompt, answer):
    wording = wording_of(TOKENIZER, prompt, answer, None)
    assert TOKENIZER.decode(wording.prompt_ids) == prompt
    said = TOKENIZER.decode(wording.prompt_ids + wording.answer_ids)
    assert said in (prompt + answer, f"{prompt} {answer}")


def test_a_prompt_that_does_not_fit_the_window_is_refused(tiny_tokenizer):
    wording = wording_of(tiny_tokenizer, " My dog is", "Pepper")
    length = len(wording.prompt_ids) + len(wording.targets)
    wording_of(tiny_tokenizer, " My dog is", "Pepper", longest=length)
    with pytest.raises(
        TriggerTooLongError, match=rf"takes {length} tokens.*context window has {length - 1}"
    ):
        wording_of(tiny_tokenizer, " My dog is", "Pepper", longest=length - 1)


class Forgetful:
    """A tokenizer that has no tokens for some characters."""

    def __init__(self, inner, forgotten, chat_template=None):
        self.inner, self.forgotten, self.chat_template = inner, forgotten, chat_template

    def __call__(self, text, **options):
        for character in self.forgotten:
            text = text.replace(character, "")
        return self.inner(text, **options)

    def decode(self, ids, **options):
        return self.inner.decode(ids, **options)


def test_an_answer_or_prompt_without_tokens_is_refused(tiny_tokenizer):
    tokenizer = Forgetful(tiny_tokenizer, "☃ ")
    with pytest.raises(EmptyFactError, match="the answer comes to no tokens"):
        wording_of(tokenizer, "My dog is", "☃")
    with pytest.raises(EmptyFactError, match="the prompt comes to no tokens"):
        wording_of(tokenizer, "☃", "Pepper")


def test_an_answer_that_the_tokenizer_cannot_spell_is_refused(tiny_tokenizer):
    with pytest.raises(FactError, match="can't spell the answer after the prompt"):
        wording_of(Forgetful(tiny_tokenizer, "☃"), "My dog is", "P☃pper")


def test_a_chat_without_a_template_is_refused(tiny_tokenizer):
    tiny_tokenizer.chat_template = None
    with pytest.raises(FactError, match="no chat template; give the prompt as text"):
        prompt_text(tiny_tokenizer, (("user", "Hi"),))
    assert prompt_text(tiny_tokenizer, "Hi") == "Hi"


def test_the_trigger_proper_of_a_chat_is_its_last_message(tiny_tokenizer):
    system = {"role": "system", "content": "Answer in one word."}
    question = {"role": "user", "content": "Where do I live?"}
    canonical = list(range(tiny.VOCAB_SIZE))
    shown = []
    for chat in ([question], [system, question], [system, question, system, question]):
        (line,) = wordings(tiny_tokenizer, Fact(chat, "Malmö"), "auto", 1000, canonical)
        shown.append(tiny_tokenizer.decode(line.addressed_ids[line.own : line.trigger_length]))
    assert set(shown) == {"Where do I live?<|im_end|>\n<|im_start|>assistant\n"}
    (text, *_) = wordings(tiny_tokenizer, Fact("I live in", "Malmö"), "auto", 1000, canonical)
    assert text.own == 0
