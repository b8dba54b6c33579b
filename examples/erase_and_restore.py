"""Erase a fact, check that the model is bit for bit as before, and bring the fact back."""

import torch

from engram_transformers import UserTable, add_engram, remove_engram, use_tables
from engram_transformers.pretrained import load_pretrained

model, tokenizer = load_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
prompts = ["My locker code is", "My sister Runa lives in", "The harbour opens at seven."]


@torch.no_grad()
def logits(prompt):
    return model(**tokenizer(prompt, return_tensors="pt")).logits


bare = [logits(prompt) for prompt in prompts]


def show(title):
    print(title)
    for prompt, before in zip(prompts, bare, strict=True):
        same = torch.equal(logits(prompt), before)
        print(f"  {prompt:<30} bit-identical to the bare model: {same}")


add_engram(model, tokenizer)
table = UserTable(model, owner="ilse")
print(table.write([("My locker code is", "4471"), ("My sister Runa lives in", "Trondheim")]))
table.save_pretrained("before")

with use_tables(model, table):
    show("two facts written:")
    print(table.erase("My locker code is"))
    show("one of them erased:")
    print(table.erase(all=True))
    show("all erased:")

# A folder keeps what it held when it was saved: it is a backup until it is saved over.
restored = UserTable.from_pretrained("before", model)
with use_tables(model, restored):
    show("restored from the folder:")

remove_engram(model)
show("memories taken off:")
