import pytest
import torch

from engram_transformers import UserTable, add_engram, use_tables
from engram_transformers.continuation import continuations, first_sentence
from engram_transformers.sequences import prompt_ids

PROMPTS = ["My locker code is", "The harbour opens at seven, and the library"]


def test_continuations_are_what_generate_says_for_each_prompt_alone(tiny_llama, tiny_tokenizer):
    add_engram(tiny_llama, tiny_tokenizer)
    together = continuations(tiny_llama, tiny_tokenizer, PROMPTS, None, max_new_tokens=6)
    for prompt, said in zip(PROMPTS, together, strict=True):
        inputs = tiny_tokenizer(prompt, return_tensors="pt")
        alone = tiny_llama.generate(**inputs, max_new_tokens=6, do_sample=False, eos_token_id=1)
        new = alone[0, inputs["input_ids"].shape[1] :]
        assert said == tiny_tokenizer.decode(new, skip_special_tokens=True)


def test_each_prompt_is_continued_with_its_own_table(tiny_llama, tiny_tokenizer):
    add_engram(tiny_llama, tiny_tokenizer)
    table = UserTable(tiny_llama, "ilse")
    assert table.write((PROMPTS[0], "4471")).recalled == 1
    bare = continuations(tiny_llama, tiny_tokenizer, PROMPTS[:1] * 2, None, max_new_tokens=8)
    said = continuations(
        tiny_llama, tiny_tokenizer, PROMPTS[:1] * 2, [table, None], max_new_tokens=8
    )
    assert said[0].strip().startswith("4471.")
    assert said[1] == bare[1] != said[0]


def test_a_chat_is_continued_by_the_assistant(tiny_llama, tiny_tokenizer):
    add_engram(tiny_llama, tiny_tokenizer)
    chat = (("user", "Where do I live?"),)
    (said,) = continuations(tiny_llama, tiny_tokenizer, [chat], None, max_new_tokens=4)
    ids = torch.tensor([prompt_ids(tiny_tokenizer, chat)[0]])
    with use_tables(tiny_llama, None):
        output = tiny_llama.generate(ids, max_new_tokens=4, do_sample=False, eos_token_id=1)
    assert said == tiny_tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    assert prompt_ids(tiny_tokenizer, chat)[0] != prompt_ids(tiny_tokenizer, chat[0][1])[0]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (" Trondheim. She is a baker.", " Trondheim."),
        (" 39.5. Then", " 39.5."),
        (" Mr. Petrov. And", " Mr. Petrov."),
        (" Who? Me.", " Who?"),
        ("\n\nA list:\n- one", "\n\nA list:"),
        (" no end", " no end"),
        (" ", " "),
        ("", ""),
    ],
)
def test_the_first_sentence_is_cut_where_it_ends(text, first):
    assert first_sentence(text) == first
