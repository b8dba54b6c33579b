"""Baselines do what they say, tell the model what they should, and leave it as it was found."""

from __future__ import annotations

import pytest
import tiny
import torch
from benchmark_setting import Letters, setting_of
from transformers import BertConfig, BertModel

from benchmarks import asking
from benchmarks.asking import Question
from benchmarks.methods import KnownFact, forms, minilm, prefix
from benchmarks.methods.bare import Bare
from benchmarks.methods.controls import AnotherUser, OneRow, Shuffled
from benchmarks.methods.firing import rows_found
from benchmarks.methods.in_context import InContext
from benchmarks.methods.lora import Lora, fair, published
from benchmarks.methods.memory import Memory
from benchmarks.methods.nats import moved
from benchmarks.methods.paper_addressing import OwnAddressing, PaperAddressing
from benchmarks.methods.retrieval import Retrieval
from benchmarks.methods.step_time import against_bare

# PEFT asks transformers 5.23 in a way that is to end.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

FACTS = [
    KnownFact("My sister Mira's favourite spice is", "cardamom"),
    KnownFact("My brother Emil's favourite spice is", "cumin"),
    KnownFact("The name of my dog is", "Pepper"),
    KnownFact("My lucky number is", "27"),
]
OTHERS = [KnownFact("The harbour opens at", "seven"), KnownFact("My tram stops at", "nine")]
QUESTIONS = [Question(*fact) for fact in FACTS]
UNRELATED = ["You live in the old town, near the river.", "Where do I live, user?", "42 + 17 = 59"]


@pytest.fixture
def setting(tiny_llama, tiny_tokenizer):
    return setting_of(tiny_llama, tiny_tokenizer)


METHODS = {
    "none": Bare,
    "memory": Memory,
    "in context": InContext,
    "retrieval": lambda s: Retrieval(s, Letters(), 2),
    "paper": lambda s: PaperAddressing(s, 4),
    "own": lambda s: OwnAddressing(s, 4),
    "one row": lambda s: OneRow(s, 4),
    "shuffled": Shuffled,
    "another": lambda s: AnotherUser(s, OTHERS),
    "fair": lambda s: Lora(s, fair(3e-3, 4, kl_weight=1.0, steps=2), UNRELATED),
    "published": lambda s: Lora(s, published(2)),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_answers_and_leaves_the_model_as_it_was(setting, name):
    model = setting.model
    ids = torch.arange(10, 40).unsqueeze(0)
    modules, before = [n for n, _ in model.named_modules()], model(ids).logits
    attributes = set(vars(model))
    method = METHODS[name](setting)
    method.write(FACTS)
    counts = method.recall(QUESTIONS).counts()
    assert counts["asked"] == len(FACTS)
    assert counts["forced"] <= counts["first"]
    assert len(method.say(["My name is", "I live"], 3)) == 2
    assert (method.nbytes > 0) == (name != "none")
    assert (method.context_tokens(QUESTIONS) > 0) == (name in ("in context", "retrieval"))
    with method.active():
        pass
    method.close()
    assert [n for n, _ in model.named_modules()] == modules
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert set(vars(model)) == attributes
    assert torch.equal(model(ids).logits, before)


def test_rows_answer_and_controls_do_not(setting):
    right = {}
    for name, make in {
        "memory": Memory,
        "own": OwnAddressing,
        "none": Bare,
        "shuffled": Shuffled,
        "one row": OneRow,
        "another": lambda s: AnotherUser(s, OTHERS),
    }.items():
        method = make(setting)
        method.write(FACTS)
        right[name] = method.recall(QUESTIONS).counts()["forced"]
        method.close()
    assert right["memory"] == right["own"] == len(FACTS)
    assert right["none"] == right["shuffled"] == right["another"] == 0
    assert right["one row"] < len(FACTS)


def test_facts_that_end_alike_share_a_row_of_the_paper(setting):
    apart = PaperAddressing(setting)
    apart.write(FACTS[2:])
    assert apart.shared == 0
    assert apart.recall(QUESTIONS[2:]).counts()["forced"] == 2
    apart.close()
    alike = [
        KnownFact("My sister's harbour opens at", "seven"),
        KnownFact("My cousin's library opens at", "nine"),
    ]
    questions = [Question(*fact) for fact in alike]
    first = {}
    for make in (PaperAddressing, OwnAddressing):
        method = make(setting)
        method.write(alike)
        first[make] = method.recall(questions).counts()["first"]
        method.close()
    assert first[PaperAddressing] < first[OwnAddressing] == 2


def test_a_fair_lora_stops_when_all_is_won(setting):
    lora = Lora(setting, fair(3e-3, 4, kl_weight=0.0, steps=300))
    lora.write(FACTS)
    assert lora.won
    assert lora.steps < 300
    assert lora.recall(QUESTIONS).counts()["forced"] == len(FACTS)
    assert lora.nbytes > lora.nbytes_half > 0
    again = lora.steps
    lora.write(FACTS)  # anew, not on top
    assert lora.steps == again
    lora.close()


def test_a_published_lora_takes_all_its_steps(setting):
    lora = Lora(setting, published(7))
    lora.write(FACTS)
    assert lora.steps == 7
    assert not lora.won
    assert "7 of 1,500" in lora.name
    lora.close()


def test_a_lora_gives_up_when_its_time_is_over(setting):
    lora = Lora(setting, fair(1e-9, 4, kl_weight=0.0, steps=10_000), give_up=0.2)
    lora.write(FACTS)
    assert not lora.won
    assert 0 < lora.steps < 10_000
    lora.close()


def test_divergence_from_the_base_is_held_down(setting):
    change = {}
    twin = tiny.tiny_model("llama")
    for weight in (0.0, 10.0):
        lora = Lora(setting, fair(3e-3, 4, kl_weight=weight, steps=60), UNRELATED)
        lora.write(FACTS)
        change[weight] = moved(lora, twin, UNRELATED).summary()["mean_absolute"]
        lora.close()
    assert 0 < change[10.0] < 0.8 * change[0.0]


def test_only_texts_with_rows_are_moved(setting):
    twin = tiny.tiny_model("llama")
    memory = Memory(setting)
    memory.write(FACTS)
    texts = [*UNRELATED, "They say: My lucky number is always said aloud."]
    ids = memory.tokenizer(texts)["input_ids"]
    found = [any(places) for places in rows_found(memory.table, ids)]
    assert found == [False, False, False, True]
    result = moved(memory, twin, texts)
    assert result.equal == [not fired for fired in found]
    assert [change == 0.0 for change in result.change] == result.equal
    assert result.summary()["bit_identical"] == 3
    memory.close()
    assert moved(Bare(setting), twin, texts).change == [0.0] * 4


def test_what_is_told_is_read_before_unrelated_text(setting):
    twin = tiny.tiny_model("llama")
    told = InContext(setting)
    told.write(FACTS)
    result = moved(told, twin, UNRELATED)
    assert not any(result.equal)
    expected = []
    for text in UNRELATED:
        own = setting.tokenizer(text)["input_ids"]
        whole = "\n".join([*told.lines, "", text])
        ids = torch.tensor([setting.tokenizer(whole)["input_ids"]])
        nats = []
        for row in (ids[:, -len(own) :], ids):
            with torch.no_grad():
                logits = twin(row).logits[0, -len(own) : -1].log_softmax(-1)
            nats.append(-logits.gather(1, torch.tensor(own)[1:, None]).mean().item())
        expected.append(nats[1] - nats[0])
    assert result.change == pytest.approx(expected, abs=1e-4)


def test_rows_are_found_where_a_forward_reads_them(setting):
    memory = Memory(setting)
    memory.write(FACTS)
    text = "I said it before. My lucky number is 27. The harbour opens"
    ids = memory.tokenizer(text)["input_ids"]
    (found,) = rows_found(memory.table, [ids])
    with torch.no_grad():
        with memory.active():
            seen = memory.model(torch.tensor([ids])).logits[0]
        bare = memory.model(torch.tensor([ids])).logits[0]
    first = int((seen != bare).any(-1).nonzero()[0])
    assert found.index(True) == first
    memory.close()


def test_the_latest_facts_that_fit_are_told(setting):
    many = [KnownFact(f"My lucky number {i} is", str(i)) for i in range(60)]
    method = InContext(setting, window=600)
    method.write(many)
    assert method.given == 60
    assert 0 < len(method.lines) < 60
    assert method.lines[-1] == "My lucky number 59 is 59."
    (text,) = method.texts(["My lucky number 59 is"])
    assert "\n".join(method.lines) in text
    assert text.endswith(":\nMy lucky number 59 is")
    assert len(setting.tokenizer(text)["input_ids"]) <= 600 - 128
    assert method.nbytes == sum(len(line) + 1 for line in method.lines)


def test_the_nearest_fact_is_told_last(setting):
    method = Retrieval(setting, Letters(), 2)
    method.write(FACTS)
    (told,) = method.told(["The name of my dog is"])
    assert len(told) == 2
    assert told[-1] == "The name of my dog is Pepper."
    assert method.nbytes == sum(len(line) + 1 for line in method.lines) + 4 * 26 * 2


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_a_shared_beginning_changes_no_answer(tiny_tokenizer, family):
    model = tiny.tiny_model(family)
    method = InContext(setting_of(model, tiny_tokenizer))
    method.write([KnownFact(f"My lucky number {i} is", str(i * 7)) for i in range(20)])
    questions = [Question(f"My lucky number{' x' * (i % 4)} is", str(i)) for i in range(8)]
    texts = method.texts([q.prompt for q in questions])
    rows = asking.ids_of(tiny_tokenizer, texts)
    assert prefix.Rows(model, rows, share=True).shared >= prefix.LEAST
    shared = prefix.generate(model, tiny_tokenizer, texts, 6)
    assert shared == asking.generate(model, tiny_tokenizer, texts, 6, batch=1)
    asked = [Question(t, f" {s.strip() or 'a'}") for t, s in zip(texts, shared, strict=True)]
    assert prefix.teacher_forced(model, tiny_tokenizer, asked) == asking.teacher_forced(
        model, tiny_tokenizer, asked, batch=1
    )
    logits = [{}, {}]
    for place, share in enumerate((True, False)):
        for part in prefix.tail_logits(model, tiny_tokenizer, rows, 3, share=share):
            for number, values in zip(part.numbers, part.logits, strict=True):
                logits[place][number] = values[-3:]
    for number, values in logits[0].items():
        torch.testing.assert_close(values, logits[1][number], atol=1e-4, rtol=1e-4)


def test_steps_are_timed_against_the_bare_model(setting):
    method = InContext(setting)
    method.write(FACTS)
    prompts = [question.prompt for question in QUESTIONS[:2]]
    twin = tiny.tiny_model("llama")
    found = against_bare(method, twin, prompts, rounds=2, steps=2, seed=0)
    assert found["batch"] == found["first_token_ratio"]["n"] == 2
    assert found["first_token_ratio"]["median"] > 1  # it reads more
    assert found["bare_step_seconds"]["min"] > 0


def test_forms_put_facts_before_questions(tiny_tokenizer):
    told = [forms.fact_line(*fact) for fact in FACTS[:2]]
    assert told[0] == "My sister Mira's favourite spice is cardamom."
    assert forms.fact_line("She said", "hello!") == "She said hello!"
    assert forms.SENTENCE.text("I am", ()) == "I am"
    lines = forms.SENTENCE.text("I am", told).splitlines()
    assert lines[1:4] == [*told, ""]
    assert lines[5:] == ["I am"]
    assert forms.beside("Some text", told).splitlines() == [*told, "", "Some text"]
    assert forms.QUESTION.text("Who?", told).endswith(f"{told[1]}\n\nQuestion: Who?\nAnswer:")
    chat = forms.chat_sentence(tiny_tokenizer)
    assert chat.text("I am", ()) == "I am"
    assert chat.text("I am", told).endswith("assistant\nI am")
    question = forms.question_form(tiny_tokenizer, chat=True)
    assert told[1] in question.text("Who?", told)
    assert question.text("Who?", ()).endswith("Who?<|im_end|>\n<|im_start|>assistant\n")
    assert forms.question_form(tiny_tokenizer, chat=False) is forms.QUESTION


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (" Dr. Ortiz.", True),
        ("Dr. Ortiz<|im_end|>", True),
        ("Dr. Ortiz\nMore of it", True),
        ("Dr. Ortiz is your doctor.", False),
        ("Your doctor is Dr. Ortiz.", False),
        ("Dr. Orti", False),
        ("", False),
    ],
)
def test_an_answer_to_a_question_stands_alone_in_its_line(said, right):
    assert forms.is_said(said, "Dr. Ortiz") is right


def tiny_encoder_folder(folder, tokenizer):
    config = BertConfig(
        vocab_size=tiny.VOCAB_SIZE,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_an_encoder_that_finds_nothing_alike_is_refused(tmp_path, tiny_tokenizer, monkeypatch):
    folder = tiny_encoder_folder(tmp_path, tiny_tokenizer)
    with pytest.raises(RuntimeError, match="alike sentences are not close"):
        minilm.load_encoder(folder, torch.device("cpu"))
    monkeypatch.setattr(minilm, "_ALIKE", ("same", "same"))
    monkeypatch.setattr(minilm, "_MOST_UNLIKE", 2.0)
    encoder = minilm.load_encoder(folder, torch.device("cpu"))
    texts = [fact.prompt for fact in FACTS]
    together, alone = encoder.embed(texts), torch.cat([encoder.embed([t]) for t in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)  # padding is not counted
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(len(texts)))


def test_without_an_encoder_retrieval_is_left_out_aloud(tmp_path, capsys):
    assert minilm.encoder_or_none(tmp_path / "missing", torch.device("cpu")) is None
    assert "Retrieval is left out" in capsys.readouterr().out
