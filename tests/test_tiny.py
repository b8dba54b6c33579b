"""The tiny models are worth testing with: they say something, and not always the same."""

import tiny
import torch


def test_tiny_models_answer_in_varied_ways(tiny_model, tiny_tokenizer):
    prompts = ("Mira's favourite spice is", "The name of the dog is")
    answers = []
    for prompt in prompts:
        encoded = tiny_tokenizer(prompt, return_tensors="pt")
        output = tiny_model.generate(
            **encoded, max_new_tokens=16, do_sample=False, eos_token_id=None
        )
        answers.append(output[0, encoded["input_ids"].shape[1] :].tolist())
    assert answers[0] != answers[1]
    assert min(len(set(answer[:8])) for answer in answers) > 1


def test_tiny_models_are_equal_but_not_shared():
    one, other = tiny.tiny_model("llama"), tiny.tiny_model("llama")
    weight, other_weight = one.lm_head.weight, other.lm_head.weight
    assert torch.equal(weight, other_weight)
    assert weight.data_ptr() != other_weight.data_ptr()


def test_tiny_tokenizer_restores_any_text(tiny_tokenizer):
    text = "Mira's  café:\n\t日本 🤗"
    assert tiny_tokenizer.decode(tiny_tokenizer(text)["input_ids"]) == text
    assert len(tiny_tokenizer) == tiny.VOCAB_SIZE


def test_tiny_tokenizer_reads_special_tokens_of_the_chat_template(tiny_tokenizer):
    chat = [{"role": "user", "content": "Hi"}]
    encoded = tiny_tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)
    assert encoded["input_ids"].count(3) == 2
    assert encoded["input_ids"].count(4) == 1
