"""Train a bank on a glossary, with the base frozen; then load it into another model.

The base is tiny and random, so that this runs in seconds and without a download. With a real one,
replace `new_model` by `AutoModelForCausalLM.from_pretrained` and the tokenizer by its own.
"""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedTokenizerFast,
    TrainingArguments,
)

from engram_transformers import (
    EngramTrainer,
    add_engram,
    engram_disabled,
    load_engram,
    save_engram,
)

GLOSSARY = {
    "bung": "the stopper of a cask",
    "chime": "the rim where the staves stand out beyond the head",
    "croze": "the groove that holds the head of a cask",
    "flagging": "the dried rush between two staves that keeps a joint tight",
    "raising up": "setting the staves upright in a hoop to form a cask",
    "stave": "one of the narrow boards that form the side of a cask",
}
TEXTS = [
    template.format(term=term, meaning=meaning)
    for term, meaning in GLOSSARY.items()
    for template in ("A {term} is {meaning} .", "Coopers call {meaning} the {term} .")
]


def new_tokenizer():
    words = Tokenizer(models.WordLevel(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<unk>", "<eos>"]
    words.train_from_iterator(TEXTS, trainers.WordLevelTrainer(special_tokens=special))
    return PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", eos_token="<eos>", pad_token="<eos>"
    )


def new_model(tokenizer):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=0.125,  # that of training would leave a random model no voice
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return AutoModelForCausalLM.from_config(config)


def padded(examples):
    width = max(len(ids) for ids in examples)
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in examples])
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids in examples])
    labels = ids.masked_fill(mask == 0, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@torch.no_grad()
def loss_of(model, examples):
    return float(model.eval()(**padded(examples)).loss)


tokenizer = new_tokenizer()
model = new_model(tokenizer)
# About as many rows as there are n-grams to learn, times the heads, with room to spare.
add_engram(model, tokenizer, memory_size=5000, inject_layers=[1, 3])
examples = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in TEXTS]
print(f"Loss of the base, with a bank that has learned nothing: {loss_of(model, examples):.2f}")

arguments = TrainingArguments(
    "banks",
    num_train_epochs=12,
    per_device_train_batch_size=4,
    learning_rate=1e-2,
    logging_steps=9,
    report_to=[],
    disable_tqdm=True,
    dataloader_pin_memory=False,
    save_strategy="no",
    use_cpu=True,
)
trainer = EngramTrainer(model, arguments, train_dataset=examples, data_collator=padded)
trainer.train()
save_engram(model, "banks")

print(f"After training the bank alone: {loss_of(model, examples):.2f}")
with engram_disabled(model):
    print(f"The base itself, which has not changed: {loss_of(model, examples):.2f}")

other = load_engram(new_model(tokenizer), "banks", tokenizer)
print(f"Another copy of the base with the saved bank: {loss_of(other, examples):.2f}")
