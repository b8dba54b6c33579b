"""`engram-transformers write | erase | show | ask | explain`: tables in folders.

Results go to standard output, messages to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from engram_transformers import explaining
from engram_transformers.continuation import continuations, first_sentence
from engram_transformers.errors import FactsFileError, PretrainedModelError
from engram_transformers.explain_figure import save_figure
from engram_transformers.extras import is_installed
from engram_transformers.facts import Fact, Prompt
from engram_transformers.facts_file import parse_facts
from engram_transformers.files import read_table
from engram_transformers.ledger import Entry
from engram_transformers.lora import attach_shared_lora
from engram_transformers.output_option import require_picture
from engram_transformers.patching import add_engram
from engram_transformers.pretrained import DEFAULT_MODEL, load_pretrained
from engram_transformers.table import UserTable
from engram_transformers.table_format import StoredTable


def write(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Write facts to a table and save it.

    Args:
        arguments: folder, facts, fact, owner, model, layer, stop, source.
        parser: Told of wrong usage.

    Returns:
        0 if every fact was written, 1 if some were left out. The others are saved then, too.
    """
    if arguments.facts is None and not arguments.fact:
        parser.error("give a file of facts, or --fact PROMPT ANSWER")
    facts = [Fact(prompt, answer) for prompt, answer in arguments.fact]
    if arguments.facts is not None:
        facts = _read_facts(arguments.facts) + facts
    folder: Path = arguments.folder
    if _holds_table(folder):
        stored = read_table(folder)
        _refuse_other(parser, "--owner", arguments.owner, stored.description.owner)
        _refuse_other(parser, "--layer", arguments.layer, stored.description.layer)
        model, _ = _load_for(stored, arguments.model)
        table = UserTable.from_pretrained(folder, model)
    else:
        model, tokenizer = _load(arguments.model or DEFAULT_MODEL)
        add_engram(model, tokenizer, layers=arguments.layer)
        table = UserTable(model, arguments.owner or folder.resolve().name)
    stop: str | None = None if arguments.stop == "none" else arguments.stop
    report = table.write(facts, stop=stop, source=arguments.source)
    table.save_pretrained(folder)
    print(report)
    return 1 if report.failed else 0


def erase(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Erase facts from a table and save it.

    Args:
        arguments: folder, prompt, all, yes, model.
        parser: Told of wrong usage.

    Returns:
        0 if they are erased, 1 if not confirmed.
    """
    if arguments.yes and not arguments.all:
        parser.error("argument --yes: only with --all")
    stored = read_table(arguments.folder)
    if arguments.all and not arguments.yes and not _confirmed(stored, parser):
        _say("Nothing was erased.")
        return 1
    model, _ = _load_for(stored, arguments.model)
    table = UserTable.from_pretrained(arguments.folder, model)
    receipt = table.erase(all=True) if arguments.all else table.erase(arguments.prompt)
    table.save_pretrained(arguments.folder)
    print(receipt)
    return 0


def show(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Print what is in a table's files. No model is loaded.

    Args:
        arguments: folder, json, rows.
        parser: Not used.

    Returns:
        0.
    """
    stored = read_table(arguments.folder)
    description = _describe(stored, with_rows=arguments.rows)
    if arguments.json:
        print(json.dumps(description, ensure_ascii=False, indent=2))
        return 0
    for name in ("owner", "model", "layer", "version", "rows", "addresses", "dtype", "row_dim"):
        print(f"{name:<10} {description[name]}")
    if description["shared_lora"]:
        print(f"{'LoRA':<10} {description['shared_lora']}")
    entries = stored.description.entries
    if entries is None:
        print("facts      saved without their texts")
    else:
        print(f"facts      {len(entries)}")
        for entry in entries:
            _print_entry(entry)
    if arguments.rows:
        for row in description["row_list"]:
            print(f"{row['address']:016x}  row {row['row']:>5}  largest {row['largest']:.3f}")
    return 0


def ask(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Print what the model says after a prompt.

    Args:
        arguments: folder, prompt, chat, max_new_tokens, whole, no_table, model.
        parser: Told of wrong usage.

    Returns:
        0.
    """
    if arguments.max_new_tokens < 1:
        parser.error(f"argument --max-new-tokens: {arguments.max_new_tokens} is not at least 1")
    prompt: Prompt = (("user", arguments.prompt),) if arguments.chat else arguments.prompt
    stored = read_table(arguments.folder)
    model, tokenizer = _load_for(stored, arguments.model)
    table = None if arguments.no_table else UserTable.from_pretrained(arguments.folder, model)
    said = continuations(
        model, tokenizer, [prompt], table, max_new_tokens=arguments.max_new_tokens
    )[0]
    print((said if arguments.whole or arguments.chat else first_sentence(said)).strip())
    return 0


def explain(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Print which rows fire in a text and what they change.

    Args:
        arguments: folder, prompt, chat, top, plot, json, model.
        parser: Told of wrong usage, before anything is computed.

    Returns:
        0.
    """
    if arguments.top < 1:
        parser.error(f"argument --top: {arguments.top} is not at least 1")
    if arguments.plot is not None:
        require_picture(parser, "--plot", arguments.plot)
    stored = read_table(arguments.folder)
    model, _ = _load_for(stored, arguments.model)
    table = UserTable.from_pretrained(arguments.folder, model)
    inputs = [("user", arguments.prompt)] if arguments.chat else arguments.prompt
    explanation = explaining.explain(model, inputs, table, top=arguments.top)
    if arguments.json:
        print(json.dumps(explanation.to_dict(), ensure_ascii=False, indent=2))
    elif sys.stdout.isatty() and is_installed("rich"):
        from rich import print as print_rich

        print_rich(explanation)
    else:
        print(explanation)
    if arguments.plot is not None:
        save_figure(explanation.plot(), arguments.plot)
        _say(f"Picture: {arguments.plot}")
    return 0


def _load(name: str) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    transformers_logging.disable_progress_bar()
    return load_pretrained(name)


def _load_for(stored: StoredTable, name: str | None) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Load the model that a table was written for, with memories like those, and its LoRA."""
    description = stored.description
    try:
        model, tokenizer = _load(name or description.binding.model_name)
    except PretrainedModelError as error:
        if name is not None:
            raise
        advice = "The table was written for this model. If it is in a folder, give --model FOLDER."
        raise PretrainedModelError(error.name, error.attempts, advice) from error
    if description.binding.lora is not None and description.binding.lora.reference:
        attach_shared_lora(model, description.binding.lora.reference)
    add_engram(model, tokenizer, layers=description.layer, **dict(description.binding.config))
    return model, tokenizer


def _holds_table(folder: Path) -> bool:
    """Say whether something is there already; whether it is a table is for loading to say."""
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def _refuse_other(
    parser: argparse.ArgumentParser, option: str, asked: object, there: object
) -> None:
    if asked is not None and asked != there:
        parser.error(f"argument {option}: the table in this folder has {there!r}")


def _read_facts(source: str) -> list[Fact]:
    if source == "-":
        return parse_facts(sys.stdin.read(), "standard input")
    try:
        text = Path(source).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FactsFileError(source, str(error)) from error
    return parse_facts(text, source)


def _confirmed(stored: StoredTable, parser: argparse.ArgumentParser) -> bool:
    if not sys.stdin.isatty():
        parser.error("argument --all: needs --yes where nobody can be asked")
    entries = stored.description.entries
    facts = "all facts" if entries is None else f"all {len(entries)} facts"
    print(f"Erase {facts} of {stored.description.owner!r}? [y/N] ", end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _describe(stored: StoredTable, *, with_rows: bool) -> dict[str, Any]:
    """Return what the files say, as JSON types."""
    description, rows = stored.description, stored.rows
    entries = description.entries
    described: dict[str, Any] = {
        "owner": description.owner,
        "model": description.binding.model_name,
        "layer": description.layer,
        "version": description.version,
        "rows": rows.values.shape[0],
        "addresses": rows.addresses.numel(),
        "dtype": description.dtype,
        "row_dim": rows.values.shape[1],
        "shared_lora": description.binding.lora and str(description.binding.lora),
        "facts": None if entries is None else [entry.to_dict() for entry in entries],
    }
    if with_rows:
        largest = rows.values.abs().amax(dim=1).tolist() if rows.values.shape[0] else []
        pairs = zip(rows.addresses.tolist(), rows.row_index.tolist(), strict=True)
        described["row_list"] = [
            {"address": address % (1 << 64), "row": row, "largest": largest[row]}
            for address, row in pairs
        ]
    return described


def _print_entry(entry: Entry) -> None:
    for number, prompt in enumerate(entry.fact.prompts):
        print(f"  {'also ' if number else ''}{_shown(prompt)} → {entry.fact.answer}")
    notes = [f"written {entry.written_at}"]
    if entry.source is not None:
        notes.append(f"from {entry.source}")
    notes += [f"until {old.until}: {old.answer}" for old in entry.history]
    print(f"    {'; '.join(notes)}")


def _shown(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return " ".join(f"{role}: {content}" for role, content in prompt)


def _say(message: str) -> None:
    print(message, file=sys.stderr)
