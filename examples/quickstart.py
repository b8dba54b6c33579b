"""Write two facts into a language model, ask for them, and save them."""

from engram_transformers import UserTable, add_engram, use_tables
from engram_transformers.pretrained import load_pretrained

# Any causal language model and its tokenizer will do. This loads a small one.
model, tokenizer = load_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
add_engram(model, tokenizer)


def say(prompt, tables):
    inputs = tokenizer(prompt, return_tensors="pt")
    with use_tables(model, tables):
        output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    return tokenizer.decode(output[0])


table = UserTable(model, owner="ilse")
report = table.write(
    [
        ("My sister Runa lives in", "Trondheim"),
        ("My locker code is", "4471"),
    ]
)
print(report)

for fact in table:
    print("without:", say(fact.prompt, None))
    print("with:   ", say(fact.prompt, table))

# A trigger fires wherever it stands.
print(say("It rained all week. By the way, my sister Runa lives in", table))

table.save_pretrained("ilse")
print(UserTable.from_pretrained("ilse", model))
