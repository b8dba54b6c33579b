"""The `README.md` beside a table: what it is and how to load it, and no word of its facts."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engram_transformers.buckets.layout import BucketLayout
    from engram_transformers.table_format import StoredTable

LIBRARY_LINE = "library_name: engram-transformers"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def model_card(table: StoredTable) -> str:
    """Return the model card of a table, with YAML front matter.

    Args:
        table: The table.

    Returns:
        Markdown. It depends on the table only, so that saving twice gives the same bytes.
    """
    description = table.description
    binding = description.binding
    addresses, rows = table.rows.addresses.numel(), table.rows.values.shape[0]
    name, on_hub = public_model(binding.model_name)
    front = [LIBRARY_LINE, "tags:", "- engram", "- engram-table"]
    if on_hub:
        front.append(f"base_model: {json.dumps(binding.model_name)}")
    facts = [f"| facts | {len(description.entries)} |"] if description.entries is not None else []
    lora = [] if binding.lora is None else [f"| shared LoRA | {as_code(str(binding.lora))} |"]
    lines = [
        "---",
        *front,
        "---",
        "",
        f"# Engram table of {as_code(description.owner)}",
        "",
        f"Facts written into the memory of {as_code(name)} with engram-transformers."
        " The base model is unchanged: the facts are rows, found by the hash of the tokens that"
        " lead up to them.",
        "",
        "| | |",
        "|---|---|",
        *facts,
        f"| rows | {rows} |",
        f"| addresses | {addresses} |",
        f"| bytes of rows and addresses | {table.nbytes} |",
        f"| stored as | {description.dtype} |",
        f"| read at layer | {description.layer} |",
        *_replaced(description.binding.buckets),
        f"| version | {description.version} |",
        f"| base model | {as_code(name)}, weights `{binding.model[:12]}` |",
        *lora,
        "",
        "## Load it",
        "",
        "```python",
        *_loading(table, name),
        "```",
        "",
        "## What is in it",
        "",
        *_contents(description.entries is not None),
        "",
    ]
    return "\n".join(lines)


def is_model_card(content: bytes) -> bool:
    """Say whether a README is one that a table wrote."""
    front = content.removeprefix(b"---\n").partition(b"\n---")[0]
    return content.startswith(b"---\n") and LIBRARY_LINE.encode() in front.split(b"\n")


def public_model(model_name: str) -> tuple[str, bool]:
    """Return a model's name and whether it looks like one on the Hub; of a path only its end."""
    if _HUB_ID.fullmatch(model_name):
        return model_name, True
    return re.split(r"[/\\]", model_name.rstrip("/\\"))[-1], False


def _loading(table: StoredTable, name: str) -> list[str]:
    binding = table.description.binding
    # All of them: the defaults of a later release may be others.
    fields = {"layers": [table.description.layer], **dict(binding.config)}
    arguments = ", ".join(f"{key}={value!r}" for key, value in fields.items())
    lora = [] if binding.lora is None else ["attach_shared_lora(model, …)  # the one named above"]
    patch = f"add_engram(model, tokenizer, {arguments})"
    if binding.buckets is not None and binding.buckets.memory == "bank":
        patch = "load_engram(model, …, tokenizer)  # the bank that it was written for"
    names = ["UserTable", patch.partition("(")[0]]
    names += [*(["attach_shared_lora"] if lora else []), "use_tables"]
    return [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"from engram_transformers import {', '.join(names)}",
        "",
        f"name = {json.dumps(name, ensure_ascii=False)}",
        "model = AutoModelForCausalLM.from_pretrained(name)",
        "tokenizer = AutoTokenizer.from_pretrained(name)",
        patch,
        *lora,
        'table = UserTable.from_pretrained("this folder or repository", model)',
        "with use_tables(model, table):",
        "    ...  # model(…), model.generate(…), pipeline(…)",
    ]


def _replaced(buckets: BucketLayout | None) -> list[str]:
    """Say of which memory a table replaces rows."""
    if buckets is None:
        return []
    whose = "a trained bank" if buckets.memory == "bank" else "the model's own n-gram memory"
    return [f"| replaces rows of {whose} | of {buckets.rows} rows, {buckets.width} numbers each |"]


def _contents(has_ledger: bool) -> list[str]:
    if has_ledger:
        return [
            "`table.safetensors` holds the facts as plain text too, with times and sources (the"
            " ledger). To share a table without them, save it with `store_text=False`."
        ]
    return [
        "`table.safetensors` holds no plain text of the facts. With the base model, whoever has the"
        " file can still ask for them: treat it as what it holds."
    ]


def as_code(text: str) -> str:
    """Put text into Markdown's code quotes; signs that would break out of them are left out."""
    plain = " ".join(re.sub(r"[`|\x00-\x1f\x7f]", " ", text).split())
    return f"`{plain or ' '}`"
