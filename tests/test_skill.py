"""Promises of the skill: what is learned, what is read, and what a model with it answers."""

from __future__ import annotations

import json
import random
import re

import pytest
import tiny
import torch
from safetensors.torch import load_file

from engram_transformers import (
    Episode,
    Fact,
    UserTable,
    add_engram,
    answer,
    attach_shared_lora,
    named_fact,
    recall_key,
    train_shared_lora,
)
from engram_transformers.errors import (
    AnswerError,
    ConfigError,
    EmptyFactError,
    EpisodeError,
    NotPatchedError,
    SharedLoraError,
    TableMismatchError,
)
from engram_transformers.fingerprint import adapter_fingerprint
from engram_transformers.sequences import Encoder
from engram_transformers.skill.examples import (
    Collator,
    SimilarLengths,
    episode_examples,
    ordinary_examples,
)
from engram_transformers.skill.losses import answer_loss, divergence, logits_at
from engram_transformers.skill.traces import question_ids, trace, trace_ids

# PEFT (0.19) asks transformers (5.23) in a way that is going out of use.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

KEY = "My birth year is"
BORN = Episode(
    [(KEY, "1993"), ("My lucky number is", "27")],
    "How old am I in 2026?",
    "33",
    (KEY,),
    "2026 - 1993 = 33.",
)


@pytest.mark.parametrize("name", ["birth year", "my birth  year", " My birth year "])
def test_a_recall_key_is_the_same_however_the_name_is_given(name):
    assert recall_key(name) == KEY


@pytest.mark.parametrize("name", ["", " ", "my"])
def test_a_recall_key_needs_a_name(name):
    with pytest.raises(EmptyFactError):
        recall_key(name)


def test_a_named_fact_has_a_trigger_for_each_of_its_names():
    fact = named_fact("birth year", "1993", aliases=("year of birth",), prompts=("I was born in",))
    assert fact == Fact(KEY, "1993", ("My year of birth is", "I was born in"))


def test_one_alias_prompt_or_trigger_need_not_be_a_sequence():
    fact = named_fact("birth year", "1993", aliases="year of birth", prompts="I was born in")
    assert fact.paraphrases == ("My year of birth is", "I was born in")
    episode = Episode([fact], "How old am I in 2026?", "33", KEY, "2026 - 1993 = 33.")
    assert episode.needed == (KEY,)


def test_aliases_cost_no_rows(tiny_llama, tiny_tokenizer):
    model = add_engram(tiny_llama, tiny_tokenizer)
    alone, named = UserTable(model, "alone"), UserTable(model, "named")
    alone.write(named_fact("river", "7"), progress=False)
    named.write(named_fact("river", "7", aliases=("harbour", "town")), progress=False)
    assert named.rows.values.shape == alone.rows.values.shape
    assert named.rows.addresses.numel() == 3 * alone.rows.addresses.numel()


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("plain", " My birth year is 1993. 2026 - 1993 = 33. Answer: 33"),
        ("chat", "My birth year is 1993. 2026 - 1993 = 33. Answer: 33"),
    ],
)
def test_a_trace_recites_then_works_then_answers(form, expected):
    segments = trace(BORN, form)
    assert "".join(text for text, _ in segments) == expected
    assert [text for text, is_learned in segments if not is_learned] == [" 1993."]


@pytest.mark.parametrize("form", ["plain", "chat"])
def test_a_number_may_end_its_line_and_the_next_one_begins_without_a_space(form):
    facts = [named_fact("age", "42"), named_fact("pace", "5.5"), named_fact("dog", "Rex 3b")]
    needed = ("My age is", "My dog is", "My pace is")
    segments = trace(Episode(facts, "?", "1", needed, "4 < 5."), form, line_ends=True)
    said = "".join(text for text, _ in segments)
    assert said.lstrip() == "My age is 42.\nMy dog is Rex 3b. My pace is 5.5.\n4 < 5. Answer: 1"


def test_what_is_missing_is_said_to_be_unknown():
    episode = Episode((), "Where do I live?", "I don't know.", ("My city is",))
    segments = trace(episode, "plain")
    assert "".join(text for text, _ in segments) == " My city is unknown. Answer: I don't know."
    assert all(is_learned for _, is_learned in segments)


@pytest.mark.parametrize("form", ["plain", "chat"])
def test_values_are_read_and_not_learned(tiny_tokenizer, form):
    ids, learned = trace_ids(Encoder(tiny_tokenizer), BORN, form)
    question = question_ids(Encoder(tiny_tokenizer), BORN.question, form)
    assert ids[: len(question)] == question
    assert not any(learned[: len(question)])
    said = [i for i, is_learned in zip(ids, learned, strict=True) if is_learned]
    assert ids[-1] == said[-1] == tiny_tokenizer.eos_token_id
    start = "My" if form == "chat" else " My"
    expected = f"{start} birth year is 2026 - 1993 = 33. Answer: 33"
    assert tiny_tokenizer.decode(said[:-1]) == expected


@pytest.mark.parametrize(("stop", "line_ends"), [("auto", False), ("auto, line end", True)])
def test_a_value_is_cut_into_tokens_as_a_row_says_it(tiny_tokenizer, tiny_llama, stop, line_ends):
    from engram_transformers.sequences import wordings

    model = add_engram(tiny_llama, tiny_tokenizer)
    table = UserTable(model, "somebody")
    canonical = list(range(tiny.VOCAB_SIZE))
    fact = Fact(KEY, "1993")
    (line, *_) = wordings(tiny_tokenizer, fact, stop, 1000, canonical)
    ids, learned = trace_ids(Encoder(tiny_tokenizer), BORN, "plain", line_ends=line_ends)
    question = question_ids(Encoder(tiny_tokenizer), BORN.question, "plain")
    read = [i for i, is_learned in zip(ids, learned, strict=True) if not is_learned]
    assert tuple(read[len(question) :]) == line.targets
    assert table.layer >= 0


@pytest.mark.parametrize(
    "fields",
    [
        {"question": " "},
        {"answer": ""},
        {"answer": 1993},
        {"needed": ("",)},
        {"facts": [(KEY, "1993"), (KEY, "1994")]},
    ],
)
def test_an_episode_that_can_not_be_used_is_refused(fields):
    good = {"facts": [(KEY, "1993")], "question": "When?", "answer": "1993", "needed": (KEY,)}
    Episode(**good)
    with pytest.raises(EpisodeError):
        Episode(**{**good, **fields})


def test_an_episode_that_is_too_long_is_refused(tiny_tokenizer):
    with pytest.raises(EpisodeError, match="max_length is 8"):
        episode_examples(tiny_tokenizer, [BORN], ["plain"], 8, 0)
    with pytest.raises(EpisodeError, match="no episodes"):
        episode_examples(tiny_tokenizer, [], ["plain"], 8, 0)


def test_batches_are_padded_and_only_what_is_learned_has_labels(tiny_tokenizer):
    examples = episode_examples(tiny_tokenizer, [BORN], ["plain"], 512, 0)
    examples += ordinary_examples(tiny_tokenizer, ["The library opens at nine.", "a"])
    assert len(examples) == 2  # "a" is one token
    batch = Collator(padding=2)(examples)
    assert batch["attention_mask"].sum(1).tolist() == [len(example.ids) for example in examples]
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 2).all()
    length = batch["input_ids"].shape[1]
    learned = [place for place, is_learned in enumerate(examples[0].learned) if is_learned]
    assert [place + 1 for place in batch["learned"].tolist()] == learned
    assert batch["targets"].tolist() == [examples[0].ids[place] for place in learned]
    followed = range(len(examples[1].ids) - 1)
    assert batch["ordinary_texts"].tolist() == [1]
    assert batch["ordinary"].tolist() == [length + place for place in followed]
    assert batch["ordinary_alone"].tolist() == list(followed)


def test_losses_count_what_they_are_to_count():
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 7), torch.tensor([3, 1, 0, 0, 6])
    assert answer_loss(logits[:0], targets[:0]) == 0
    expected = -(logits[0].log_softmax(-1)[3] + logits[1].log_softmax(-1)[1]) / 2
    assert torch.allclose(answer_loss(logits[:2], targets[:2]), expected)
    assert divergence(logits, logits).abs() < 1e-6
    assert divergence(logits + 3, logits).abs() < 1e-6  # the same predictions
    assert divergence(torch.randn(5, 7), logits) > 0.1


def test_logits_where_they_count_are_those_of_the_whole_model(tiny_llama, tiny_tokenizer):
    examples = episode_examples(tiny_tokenizer, [BORN], ["plain"], 512, 0)
    batch = Collator(2)([*examples, *ordinary_examples(tiny_tokenizer, ["The library opens."])])
    positions = torch.tensor([3, batch["input_ids"].shape[1] + 2, 0])
    names = ("input_ids", "attention_mask")
    whole = tiny_llama(**{name: batch[name] for name in names}).logits
    found = logits_at(tiny_llama, tiny_llama.get_output_embeddings(), batch, positions)
    assert torch.allclose(found, whole.flatten(0, 1)[positions], atol=1e-5)
    after = tiny_llama(**{name: batch[name] for name in names}).logits
    assert torch.equal(after, whole)  # no hook is left


def test_chats_are_ordinary_texts_too(tiny_tokenizer):
    texts = [("The library opens at", "nine"), "The library opens at nine"]
    pair, text = ordinary_examples(tiny_tokenizer, texts)
    assert pair == text


def episodes(count: int) -> list[Episode]:
    lot = random.Random(0)
    asked = {"dog": "the name of the dog", "river": "the river", "town": "the old town"}
    made = []
    for _ in range(count):
        name = lot.choice(list(asked))
        value = str(lot.randrange(10, 99))
        facts = [named_fact(name, value)]
        question = f"What is {asked[name]}?"
        made.append(Episode(facts, question, value, (recall_key(name),)))
    return made


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A skill for the tiny Llama: it recites three keys."""
    folder = tmp_path_factory.mktemp("skill")
    model, tokenizer = tiny.tiny_model("llama"), tiny.tiny_tokenizer()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.model.embed_tokens.weight.requires_grad_(False)
    found = train_shared_lora(
        model,
        tokenizer,
        episodes(600),
        folder,
        ordinary_texts=["The harbour opens at seven."],
        forms=["plain"],
        learning_rate=1e-2,
        epochs=4,
        batch_size=16,
        use_cpu=True,
        disable_tqdm=True,
        logging_steps=1000,
    )
    assert found == folder
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert adapter_fingerprint(model) is None
    assert not model.training
    assert not model.model.embed_tokens.weight.requires_grad
    assert model.lm_head.weight.requires_grad
    return folder


def test_the_adapter_is_an_ordinary_one_in_bfloat16(adapter):
    weights = load_file(adapter / "adapter_model.safetensors")
    assert weights
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert not any("engram" in name for name in weights)


@pytest.fixture
def skilled(adapter):
    model, tokenizer = tiny.tiny_model("llama"), tiny.tiny_tokenizer()
    add_engram(model, tokenizer)
    attach_shared_lora(model, adapter)
    return model, tokenizer


def test_a_model_with_the_skill_recites_and_the_rows_are_read(skilled):
    model, tokenizer = skilled
    ann, bob = UserTable(model, "ann"), UserTable(model, "bob")
    assert ann.write([named_fact("dog", "71"), named_fact("town", "38")]).recalled == 1.0
    assert bob.write([named_fact("dog", "52")]).recalled == 1.0
    question = "What is the name of the dog?"
    said = answer(model, tokenizer, question, ann, form="plain")
    assert said.recited.startswith("My dog is 71.")
    found = answer(
        model, tokenizer, [question, "What is the old town?", question], [ann, ann, bob],
        form="plain",
    )  # fmt: skip
    expected = ["My dog is 71.", "My town is 38.", "My dog is 52."]
    # A tiny model may go on after that; what it recites and reads is the skill.
    assert [one.recited[: len(text)] for one, text in zip(found, expected, strict=True)] == expected
    assert found[0].text == said.text == str(said)


def test_an_answer_that_comes_to_no_end_is_an_error_that_has_the_others(skilled):
    model, tokenizer = skilled
    with pytest.raises(AnswerError, match="after 3 tokens, nor have 1 more") as caught:
        answer(model, tokenizer, ["Where?", "Who?"], [None, None], form="plain", max_new_tokens=3)
    assert caught.value.question == "Where?"
    assert caught.value.said
    assert caught.value.answers == (None, None)


def test_a_table_that_was_written_without_the_skill_is_refused(adapter):
    model, tokenizer = tiny.tiny_model("llama"), tiny.tiny_tokenizer()
    add_engram(model, tokenizer)
    table = UserTable(model, "somebody")
    table.write(named_fact("dog", "71"))
    attach_shared_lora(model, adapter)
    for tables in (table, [table], [UserTable(model, "other"), table]):
        with pytest.raises(TableMismatchError, match="written without a LoRA"):
            answer(model, tokenizer, "What is the river?", tables, form="plain")
    again = UserTable(model, "somebody")
    again.write(table.facts)
    assert answer(model, tokenizer, "What is the name of the dog?", again, form="plain").recited


def test_a_model_without_a_skill_is_refused(tiny_llama, tiny_tokenizer):
    with pytest.raises(NotPatchedError):
        answer(tiny_llama, tiny_tokenizer, "What is the river?")
    add_engram(tiny_llama, tiny_tokenizer)
    with pytest.raises(SharedLoraError, match="no skill"):
        answer(tiny_llama, tiny_tokenizer, "What is the river?")


def test_bad_questions_are_refused(skilled):
    model, tokenizer = skilled
    for question, tables, form in (
        (" ", None, None),
        ([], [], None),
        (["What?"], [], None),
        ("What?", None, "poem"),
    ):
        with pytest.raises(ConfigError):
            answer(model, tokenizer, question, tables, form=form)
    with pytest.raises(ConfigError, match="names"):
        answer(model, tokenizer, "What?", form="plain", names="some")
    with pytest.raises(ConfigError, match="max_new_tokens"):
        answer(model, tokenizer, "What?", form="plain", max_new_tokens=0)
    with pytest.raises(ConfigError, match="streamer"):
        answer(model, tokenizer, ["What?"] * 2, [None] * 2, form="plain", streamer=object())


def test_more_names_than_fit_a_question_are_refused(skilled):
    model, tokenizer = skilled
    table = UserTable(model, "ann")
    table.write([named_fact("dog", "71"), named_fact("town", "38")])
    question = "What is the old town?"
    answer(model, tokenizer, question, table, form="plain", names="always")
    for number in range(39):
        table.write(named_fact(f"thing {number}", str(10 + number)), contexts=0)
    assert len(table) > 40
    with pytest.raises(ConfigError, match="more names than fit"):
        answer(model, tokenizer, question, table, form="plain", names="always")


def test_training_is_refused_on_a_model_with_an_adapter(skilled, tmp_path):
    model, tokenizer = skilled
    with pytest.raises(SharedLoraError, match="adapter already"):
        train_shared_lora(model, tokenizer, [BORN], tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"rank": 0},
        {"with_names": 2},
        {"missing": -0.1},
        {"batch_size": 0},
        {"forms": ()},
        {"forms": ["x"]},
    ],
)
def test_options_that_are_not_allowed_are_named(tiny_llama, tiny_tokenizer, tmp_path, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        train_shared_lora(tiny_llama, tiny_tokenizer, [BORN], tmp_path, **options)
    assert adapter_fingerprint(tiny_llama) is None


def test_the_adapter_names_no_folder(adapter, tiny_tokenizer, tmp_path):
    tiny.tiny_model("llama").save_pretrained(tmp_path / "some-model")
    model = type(tiny.tiny_model("llama")).from_pretrained(tmp_path / "some-model")
    folder = tmp_path / "skill"
    train_shared_lora(model, tiny_tokenizer, [BORN], folder, use_cpu=True, disable_tqdm=True)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "some-model"
    assert str(tmp_path) not in (folder / "README.md").read_text(encoding="utf-8")


def test_memories_are_not_adapted(tiny_llama, tiny_tokenizer, tmp_path):
    add_engram(tiny_llama, tiny_tokenizer)
    train_shared_lora(
        tiny_llama, tiny_tokenizer, [BORN], tmp_path, batch_size=1, use_cpu=True, disable_tqdm=True
    )
    assert not any("engram" in name for name in load_file(tmp_path / "adapter_model.safetensors"))
    table = UserTable(tiny_llama, "somebody")
    assert table.write(named_fact("dog", "71")).recalled == 1.0


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_blocks_may_be_compiled_for_training_and_are_not_afterwards(
    tiny_llama, tiny_tokenizer, tmp_path, monkeypatch
):
    options = {"forms": ["plain"], "batch_size": 4, "use_cpu": True, "disable_tqdm": True}
    train_shared_lora(tiny_llama, tiny_tokenizer, episodes(8), tmp_path / "plain", **options)
    compiled = []

    def compile_eagerly(module, **how):
        compiled.append((module, how))
        module._compiled_call_impl = torch.compile(module._call_impl, backend="eager", **how)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_eagerly)
    folder = tmp_path / "compiled"
    train_shared_lora(
        tiny_llama, tiny_tokenizer, episodes(8), folder, compile_blocks=True, **options
    )
    blocks = list(tiny_llama.model.layers)
    assert compiled == [(block, {"dynamic": True}) for block in blocks]
    assert all(block._compiled_call_impl is None for block in blocks)
    plain = load_file(tmp_path / "plain" / "adapter_model.safetensors")
    for name, weight in load_file(folder / "adapter_model.safetensors").items():
        torch.testing.assert_close(weight, plain[name], rtol=0.02, atol=1e-3)


def test_training_goes_on_from_a_checkpoint(tiny_llama, tiny_tokenizer, tmp_path):
    options = {"batch_size": 4, "forms": ["plain"], "use_cpu": True, "disable_tqdm": True}
    options |= {"save_strategy": "steps", "save_steps": 2, "lr_scheduler_type": "constant"}
    with pytest.raises(ConfigError, match="no checkpoint"):
        train_shared_lora(tiny_llama, tiny_tokenizer, [BORN], tmp_path / "none", resume=True)
    train_shared_lora(
        tiny_llama, tiny_tokenizer, episodes(32), tmp_path / "whole", max_steps=6, **options
    )
    folder = tmp_path / "parts"
    train_shared_lora(tiny_llama, tiny_tokenizer, episodes(32), folder, max_steps=4, **options)
    first = load_file(folder / "adapter_model.safetensors")
    train_shared_lora(
        tiny_llama, tiny_tokenizer, episodes(32), folder, max_steps=6, resume=True, **options
    )
    second = load_file(folder / "adapter_model.safetensors")
    whole = load_file(tmp_path / "whole" / "adapter_model.safetensors")
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert all(torch.allclose(whole[name], second[name], atol=1e-3) for name in whole)


def asked_with_names(tokenizer, known, share=1.0, seed=0, missing=0.0):
    found = episode_examples(tokenizer, known, ["plain"], 768, seed, share, missing)
    texts = [tokenizer.decode(example.ids) for example in found]
    return [re.sub(r"(?<=\d\.)\n", " ", text) for text in texts]  # some numbers end their line


PHONE, DOG = named_fact("phone", "71", aliases="mobile"), named_fact("dog", "52")
NAMED = [
    Episode([PHONE, DOG, named_fact("river", "17")], "Which phone?", "71", "My phone is"),
    Episode([DOG], "Which dog?", "52", "My dog is"),
    Episode([named_fact("cat", "33")], "Which cat?", "33", "My cat is"),
]


def test_a_question_may_come_with_names_and_what_is_needed_is_said_by_the_listed_one(
    tiny_tokenizer,
):
    listed = set()
    for seed in range(12):
        first = asked_with_names(tiny_tokenizer, NAMED, seed=seed)[0]
        names = first.split("Known about me: ")[1].split("\n")[0].split("; ")
        assert "unknown" not in first
        if "None of these. Answer: I don't know." in first:
            assert sorted(names) == ["dog", "river"]
            continue
        (said,) = {"phone", "mobile"} & set(names)  # one name for one fact
        assert sorted({*names} - {said}) == ["dog", "river"]  # its own table's, nobody else's
        listed.add(said)
        assert f"My {said} is 71. Answer: 71" in first
    assert listed == {"phone", "mobile"}


def test_of_more_names_than_are_shown_the_needed_ones_are_among_them(tiny_tokenizer):
    many = [named_fact(f"item {number}", "52") for number in range(60)]
    both = ("My item 7 is", "My item 51 is")
    asked = [Episode(many, "Which?", "52", both)]
    for seed in range(4):
        (text,) = asked_with_names(tiny_tokenizer, asked, seed=seed)
        names = text.split("Known about me: ")[1].split("\n")[0].split("; ")
        assert len(names) == len(set(names)) == 40
        assert "None of these" in text or {"item 7", "item 51"} <= set(names)


def test_of_some_questions_what_is_needed_is_left_out(tiny_tokenizer):
    facts = [named_fact("dog", "52"), named_fact("river", "17")]
    both = Episode(facts, "Sum?", "69", ("My dog is", "My river is"), "52 + 17 = 69.")
    texts = set(asked_with_names(tiny_tokenizer, [both] * 40, share=0.0, missing=0.5))
    assert {text.split("\nA: ")[1] for text in texts} == {
        "My dog is 52. My river is 17. 52 + 17 = 69. Answer: 69<|eos|>",
        "My dog is unknown. Answer: I don't know.<|eos|>",
        "My dog is 52. My river is unknown. Answer: I don't know.<|eos|>",
    }
    alone = asked_with_names(tiny_tokenizer, [NAMED[1]] * 20, share=0.0, missing=1.0)
    assert all("My dog is 52" in text for text in alone)  # a table holds something


def test_batches_are_of_similar_lengths_and_an_epoch_has_each_example_once():
    lot = random.Random(0)
    lengths = [lot.randrange(10, 300) for _ in range(1000)]
    order = SimilarLengths(lengths, 16, seed=0)
    first = list(order)
    assert sorted(first) == list(range(1000))
    assert len(order) == 1000
    assert list(order) == first
    order.set_epoch(1)
    assert sorted(order) == sorted(first)
    assert list(order) != first
    batches = [first[start : start + 16] for start in range(0, 1000 - 16, 16)]
    spans = [max(lengths[n] for n in one) - min(lengths[n] for n in one) for one in batches]
    assert sum(spans) / len(spans) < 60
    assert [len(list(SimilarLengths([5] * n, 16, 0))) for n in (0, 5, 16)] == [0, 5, 16]
