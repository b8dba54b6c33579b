"""Promises of asking: what cached greedy generation says, also where one pass tells it."""

from __future__ import annotations

import pytest
import torch
from tables import LAYERS, ROW_DIM, table_along

import engram_transformers.evaluation as evaluation
from engram_transformers import Fact, UserTable, add_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.evaluation import Said, ask, is_recalled, left_padded
from engram_transformers.sequences import Wording, wordings


@pytest.fixture
def model(tiny_model, tiny_tokenizer):
    return add_engram(tiny_model, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)


def lines_of(model, count: int) -> list[Wording]:
    attachment = require_attachment(model)
    facts = [Fact(f"The {'old ' * (n % 3)}number {n} is", "a" * (1 + n % 4)) for n in range(count)]
    return [
        wordings(attachment.tokenizer, fact, "auto", 100, attachment.canonical_list)[0]
        for fact in facts
    ]


def alone(model, wording: Wording) -> tuple[int, ...]:
    ids = list(wording.prompt_ids)
    with torch.no_grad():
        for _ in range(len(wording.targets) + 1):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return tuple(ids[len(wording.prompt_ids) :])


def test_each_prompt_is_answered_as_it_is_alone(model):
    lines = lines_of(model, 7)
    asked: list[int] = []
    said = ask(model, None, lines, asked.append)
    assert [one.tokens for one in said] == [alone(model, wording)[:-1] for wording in lines]
    assert [one.then for one in said] == [alone(model, wording)[-1] for wording in lines]
    assert sum(asked) == 7


def test_the_table_is_read(model, tiny_tokenizer):
    prompt = tiny_tokenizer("The name is")["input_ids"]
    made, whole = table_along(model, prompt, 6)
    wording = Wording(tuple(prompt), 0, tuple(whole[len(prompt) :]), (), False)
    (said,) = ask(model, made.table, [wording])
    assert said.tokens == wording.targets
    assert is_recalled(wording, said)
    assert not is_recalled(wording, ask(model, None, [wording])[0])


def test_settings_of_the_model_do_not_matter(tiny_llama, tiny_tokenizer):
    model = add_engram(tiny_llama, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    lines = lines_of(model, 3)
    said = ask(model, None, lines)
    settings = model.generation_config
    settings.do_sample, settings.temperature, settings.num_beams = True, 5.0, 3
    settings.repetition_penalty, settings.return_dict_in_generate = 9.0, True
    # What ends a chat is the model's end of text: it must be said, and end nothing.
    settings.eos_token_id = [one.tokens[0] for one in said]
    assert ask(model, None, lines) == said


def test_an_answer_is_recalled_whole_or_not_at_all():
    wording = Wording((1, 2), 0, (3, 4), (5,), False)
    assert is_recalled(wording, Said((3, 4, 5), 1.0, 6))
    for said in ((3, 4), (3, 4, 6), (3, 4, 5, 6), ()):
        assert not is_recalled(wording, Said(said, 1.0, 5))


def test_the_margin_is_that_of_the_weakest_token(model):
    (wording,) = lines_of(model, 1)
    (said,) = ask(model, None, [wording])
    ids = torch.tensor([[*wording.prompt_ids, *said.tokens[:-1]]])
    with torch.no_grad():
        logits = model(ids).logits[0, len(wording.prompt_ids) - 1 :]
    best = logits.topk(2).values
    assert said.margin == pytest.approx(float((best[:, 0] - best[:, 1]).min()), abs=1e-4)


def test_each_wording_can_be_asked_with_a_table_of_its_own(model, tiny_tokenizer):
    prompt = tiny_tokenizer("The name is")["input_ids"]
    made, whole = table_along(model, prompt, 6)
    wording = Wording(tuple(prompt), 0, tuple(whole[len(prompt) :]), (), False)
    empty = UserTable(model, "nobody", layer=made.table.layer)
    said = ask(model, [empty, made.table, empty], [wording] * 3)
    assert [is_recalled(wording, one) for one in said] == [False, True, False]
    assert said[0].tokens == ask(model, None, [wording])[0].tokens


FACTS = [
    ("My lucky number is", "27"),
    ("The name of my dog is", "Pepper Jack"),
    ("My sister Mira's favourite spice is", "cardamom"),
    ("The library opens at", "nine in the morning"),
]


@pytest.fixture
def generated(monkeypatch):
    """The wordings that were generated, of each call."""
    asked: list[list[Wording]] = []

    def generate(model, wordings):
        asked.append(list(wordings))
        return evaluation_generate(model, wordings)

    evaluation_generate = evaluation._generate
    monkeypatch.setattr(evaluation, "_generate", generate)
    return asked


def written(model, facts=FACTS):
    """A table, and what it was asked while it was written."""
    attachment = require_attachment(model)
    table = UserTable(model, "ada")
    assert table.write(facts, progress=False).recalled == 1.0
    canonical = attachment.canonical_list
    lines = [wordings(attachment.tokenizer, f, "auto", 1000, canonical)[0] for f in table.facts]
    return table, lines


def test_one_pass_says_what_generation_says(tiny_model, tiny_tokenizer, generated):
    model = add_engram(tiny_model, tiny_tokenizer)
    table, lines = written(model)
    attachment = require_attachment(model)
    assert attachment.one_pass_agrees
    generated.clear()
    in_one_pass = ask(model, table, lines)
    assert not generated
    attachment.one_pass_agrees = False
    one_by_one = ask(model, table, lines)
    assert sum(map(len, generated)) == len(lines)
    for one, other, line in zip(in_one_pass, one_by_one, lines, strict=True):
        assert (one.tokens, one.then) == (other.tokens, other.then)
        assert is_recalled(line, one)
        assert one.margin == pytest.approx(other.margin, abs=1e-3)


def test_the_first_answers_of_a_model_are_generated_too(tiny_llama, tiny_tokenizer, generated):
    model = add_engram(tiny_llama, tiny_tokenizer)
    table, lines = written(model)
    assert {line.prompt_ids for part in generated for line in part} >= {
        line.prompt_ids for line in lines
    }
    assert table.write(("I live in", "Ghent"), progress=False).recalled == 1.0


def test_what_is_not_clear_is_generated(tiny_llama, tiny_tokenizer, generated, monkeypatch):
    model = add_engram(tiny_llama, tiny_tokenizer)
    table, lines = written(model)
    generated.clear()
    wrong = Wording(lines[0].prompt_ids, 0, lines[1].answer_ids, (), False)
    said = ask(model, table, [*lines, wrong])
    assert generated == [[wrong]]
    assert not is_recalled(wrong, said[-1])
    assert all(is_recalled(line, one) for line, one in zip(lines, said, strict=False))
    generated.clear()
    monkeypatch.setattr(evaluation, "_CLEAR", 1e9)
    assert [one.tokens for one in ask(model, table, lines)] == [one.tokens for one in said[:-1]]
    assert sum(map(len, generated)) == len(lines)


def test_a_pass_that_generation_contradicts_is_not_trusted_again(
    tiny_llama, tiny_tokenizer, generated, monkeypatch
):
    """As it would be in a model that sees the answer while it is asked for it."""
    model = add_engram(tiny_llama, tiny_tokenizer)
    attachment = require_attachment(model)

    def seen(self, wordings):
        return [Said(wording.targets, 9.0, 0) for wording in wordings]

    monkeypatch.setattr(evaluation._Asked, "_run", seen)
    lines = lines_of(model, 20)
    empty = UserTable(model, "nobody")
    said = ask(model, empty, lines)
    assert attachment.one_pass_agrees is False
    assert [one.tokens for one in said] == [alone(model, line)[:-1] for line in lines]
    assert sum(map(len, generated)) == len(lines)


def test_a_model_that_may_not_say_a_token_is_generated_from(tiny_llama, tiny_tokenizer):
    model = add_engram(tiny_llama, tiny_tokenizer)
    table, lines = written(model)
    model.generation_config.suppress_tokens = [lines[0].targets[0]]
    said = ask(model, table, lines)
    assert not is_recalled(lines[0], said[0])
    assert is_recalled(lines[2], said[2])


def test_few_logits_are_held_at_once(tiny_llama, tiny_tokenizer, generated, monkeypatch):
    model = add_engram(tiny_llama, tiny_tokenizer)
    table, lines = written(model)
    generated.clear()
    sizes: list[int] = []
    run = evaluation._Asked._run

    def counted(self, wordings):
        sizes.append(len(wordings))
        return run(self, wordings)

    monkeypatch.setattr(evaluation._Asked, "_run", counted)
    monkeypatch.setattr(evaluation, "_LOGITS_AT_ONCE", 1)
    said = ask(model, table, lines)
    assert all(is_recalled(line, one) for line, one in zip(lines, said, strict=True))
    assert sizes == [1] * len(lines)
    assert not generated


def test_sequences_are_padded_on_the_left():
    ids, mask = left_padded([[1, 2, 3], [4]], torch.device("cpu"))
    assert ids.tolist() == [[1, 2, 3], [0, 0, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
