import pytest
import torch
from patched import patched
from transformers import DynamicCache

from engram_transformers.attachment import require_attachment
from engram_transformers.errors import ConfigError, EmptyFactError, FactError
from engram_transformers.explain_inputs import model_arguments


@pytest.fixture
def attachment(tiny_llama, tiny_tokenizer):
    return require_attachment(patched(tiny_llama, tiny_tokenizer))


def test_sequences_of_one_length_need_no_mask(attachment):
    arguments = model_arguments(attachment, [[7, 8, 9], [10, 11, 12]])
    assert set(arguments) == {"input_ids"}
    assert arguments["input_ids"].tolist() == [[7, 8, 9], [10, 11, 12]]
    assert arguments["input_ids"].dtype == torch.int64


def test_shorter_sequences_are_padded_behind_their_end(attachment):
    """So that positions count from 0 in every model."""
    arguments = model_arguments(attachment, [[7, 8, 9], [10]])
    assert arguments["input_ids"].tolist() == [[7, 8, 9], [10, 0, 0]]
    assert arguments["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_a_mapping_is_passed_on_as_it_is(attachment):
    given = {
        "input_ids": torch.tensor([[7, 8, 9]]),
        "attention_mask": torch.tensor([[0, 1, 1]]),
        "position_ids": torch.tensor([[0, 0, 1]]),
        "output_attentions": False,
    }
    arguments = model_arguments(attachment, given)
    assert set(arguments) == set(given)
    for name, value in given.items():
        assert arguments[name] is value or torch.equal(arguments[name], value)


def test_one_sequence_of_a_mapping_becomes_a_batch_of_one(attachment):
    for ids in (torch.tensor([7, 8]), [7, 8]):
        arguments = model_arguments(attachment, {"input_ids": ids, "attention_mask": ids})
        assert arguments["input_ids"].tolist() == [[7, 8]]
        assert arguments["attention_mask"].shape == (1, 2)


def test_lists_of_different_lengths_in_a_mapping_are_padded(attachment):
    given = {"input_ids": [[7, 8, 9], [10]], "attention_mask": [[1, 1, 1], [1]]}
    arguments = model_arguments(attachment, given)
    assert arguments["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_texts_begin_as_the_tokenizer_begins_them(attachment):
    tokenizer = attachment.tokenizer
    expected = tokenizer("My number is")["input_ids"]
    assert model_arguments(attachment, "My number is")["input_ids"].tolist() == [expected]


@pytest.mark.parametrize(
    "inputs",
    [3, 1.5, None, True, "", [], (), [1.5], ["text", 3], [["text"]], [[]], [[[7]]], [True], {7, 8}],
)
def test_what_is_no_text_is_refused(attachment, inputs):
    with pytest.raises(ConfigError, match="`inputs` is"):
        model_arguments(attachment, inputs)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.tensor([[7.0]]), "which are integers"),
        (torch.tensor([[True]]), "which are integers"),
        (torch.zeros(1, 0, dtype=torch.int64), "at least 1"),
        (torch.zeros(1, 1, 1, dtype=torch.int64), "at least 1"),
        (torch.tensor([[-1, 300]]), "`inputs` is -1, but must be token ids from 0 to 299"),
        ([7, 300], "`inputs` is 300, but must be token ids from 0 to 299"),
    ],
)
def test_ids_that_the_model_does_not_know_are_refused(attachment, ids, message):
    """On a GPU they would end the process's use of it."""
    with pytest.raises(ConfigError, match=message):
        model_arguments(attachment, ids)


def test_a_mapping_without_ids_or_with_a_cache_is_refused(attachment):
    with pytest.raises(ConfigError, match="a mapping that has input_ids"):
        model_arguments(attachment, {"inputs_embeds": torch.zeros(1, 1, 64)})
    given = {"input_ids": torch.tensor([[7]]), "past_key_values": DynamicCache()}
    with pytest.raises(ConfigError, match="a whole text, without a cache"):
        model_arguments(attachment, given)


def test_a_chat_that_cannot_be_read_is_refused(attachment):
    with pytest.raises(EmptyFactError, match="the chat has no text"):
        model_arguments(attachment, [{"role": "user", "content": " "}])
    with pytest.raises(FactError, match="needs a role and a content"):
        model_arguments(attachment, [{"role": "user"}])
    attachment.tokenizer.chat_template = None
    for role in ("user", "assistant"):
        with pytest.raises(FactError, match="no chat template"):
            model_arguments(attachment, [{"role": role, "content": "Hello"}])
