"""Answer two users and a stranger in one batch, each from their own table."""

from engram_transformers import UserTable, add_engram, use_tables
from engram_transformers.pretrained import load_pretrained

model, tokenizer = load_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
add_engram(model, tokenizer)

ilse = UserTable(model, owner="ilse")
ilse.write([("My locker code is", "4471"), ("My favourite spice is", "cardamom")])

tariq = UserTable(model, owner="tariq")
tariq.write([("My locker code is", "0916")])

# What everybody in the company may know. Listed behind a user's table, it is the weaker one.
company = UserTable(model, owner="company")
company.write([("The guest wifi password is", "maple-otter-29")])

samples = [
    ("ilse", "My locker code is", ilse),
    ("tariq", "My locker code is", tariq),
    ("a stranger", "My locker code is", None),
    ("ilse", "The guest wifi password is", [ilse, company]),
    ("a stranger", "The guest wifi password is", None),
]
inputs = tokenizer(
    [prompt for _, prompt, _ in samples], return_tensors="pt", padding=True, padding_side="left"
)
with use_tables(model, [tables for _, _, tables in samples]):
    output = model.generate(**inputs, max_new_tokens=8, do_sample=False)

texts = tokenizer.batch_decode(output, skip_special_tokens=True)
for (who, _, _), text in zip(samples, texts, strict=True):
    print(f"{who:>10}: {text}")
