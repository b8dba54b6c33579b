"""Promises of asking: what the model says, through cached greedy generation."""

from __future__ import annotations

import pytest
import torch
from tables import LAYERS, ROW_DIM, table_along

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


def test_sequences_are_padded_on_the_left():
    ids, mask = left_padded([[1, 2, 3], [4]], torch.device("cpu"))
    assert ids.tolist() == [[1, 2, 3], [0, 0, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
