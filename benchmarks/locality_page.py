"""The part of docs/benchmarks.md on locality, and its plot, from the JSON of runs."""

from __future__ import annotations

from typing import Any

from benchmarks import markdown

_PER = 100_000


def section(runs: list[dict[str, Any]]) -> list[str]:
    """Return the page's part."""
    lines = [
        "## Locality: what a table does to text that it is not about",
        "",
        "Where no row is found, nothing changes, by construction: that is checked bit by bit. What"
        " remains is how often a row is found in text that was not meant, and what it does there.",
        "",
    ]
    for run in runs:
        lines += markdown.heading(run, f"{markdown.provenance(run)}.".capitalize())
        lines += [*_bits(run), *_near(run), *_false_fires(run), *_owners(run)]
    return lines


def _bits(run: dict[str, Any]) -> list[str]:
    rows: list[list[object]] = []
    names = {
        "sentences": "unrelated sentences",
        "known_facts": "prompts of known facts",
        "trigger_in_the_middle": "a trigger in the middle of a text",
    }
    for dtype, found in run["bits"].items():
        for key, name in names.items():
            one = found.get(key)
            if one is None:
                continue
            row = [name, dtype, one["texts"], _of(one["equal"], one["without_row"])]
            row += [_of(one["equal_before"], one["with_row"])]
            at, behind = one["at_rows"], one["behind_rows"]
            rows.append([*row, _divergence(at), _divergence(behind)])
    lines = [
        f"**Bits.** {run['facts']} facts ({run['facts_kind']}) are active, and logits are compared"
        " with those of the unpatched model, `torch.equal`. At a row and behind it: the mean"
        " divergence of the next token, KL(bare, with the table), in nats.",
        "",
        *markdown.table(
            [
                "text",
                "type",
                "texts",
                "equal, of those without a row",
                "equal before the first row, of those with one",
                "nats at a row",
                "nats behind it",
            ],
            rows,
        ),
    ]
    answers = [
        (t, one["known_answers"]) for t, one in run["bits"].items() if "known_answers" in one
    ]
    if answers:
        shown = "; ".join(
            f"{dtype}: {_of(one['without_row_same'], one['without_row'])} the same, with a row in"
            f" {one['with_row']}"
            for dtype, one in answers
        )
        lines += [f"Greedy answers to the known facts' prompts, token by token: {shown}.", ""]
    return lines


def _near(run: dict[str, Any]) -> list[str]:
    seen = next(iter(run["near"].values()))["seen"]
    rows = [
        [
            f"`{name}`" if "guard" not in name else "with the near texts as `guard`",
            found["written"],
            markdown.counted(found[kind]["fired"], found[kind]["texts"]),
            found[kind]["fired_at_end"],
            f"{found[kind]['divergence_nats']:.3f}",
            f"{found[kind]['first_token_nats']:+.3f}",
            f"{found[kind]['nats_per_token']:+.3f}",
            f"{found[kind]['first_token_nats_where_fired']:+.2f}" if found[kind]["fired"] else "",
        ]
        for name, found in run["near"].items()
        for kind in (["seen", "held_out"] if "guard" in name else ["held_out"])
    ]
    for row, kind in zip(rows[-2:], ("the guards", "held out"), strict=True):
        row[0] = f"{row[0]}: {kind}"
    return [
        f"**Nats.** {seen['texts']} near texts end like a trigger (its last one to n - 1 words) and"
        " begin like another table's. What the bare model says next is the text that may lose:"
        " its first token, and all of it per token, over all near texts, and over those in which a"
        " row is found. `guard` gets one set of near texts; the figures are of another set.",
        "",
        *markdown.table(
            [
                "addresses",
                "facts written",
                "near texts with a row",
                "at their end",
                "KL, first token",
                "first token loses",
                "each token loses",
                "first token, where a row is",
            ],
            rows,
        ),
    ]


def _false_fires(run: dict[str, Any]) -> list[str]:
    found = run["false_fires"]
    text, ways = found["text"], found["ways"]
    default = ways[found["default"]]
    kinds = list(default["by_kind"])
    header = ["text", "tokens", *(f"{k}, {found['tables'][k]} tables" for k in kinds), "all"]
    rows = [
        [
            name,
            f"{size:,}",
            *(_rates(default["by_kind"][kind][name]) for kind in kinds),
            _rates(default["by_source"][name]),
        ]
        for name, size in text.items()
    ]
    lines = [
        "**False fires.** Rows found in 100,000 tokens of real text, per table of 100 facts, by the"
        f" default settings (`{found['default']}`); in brackets those of triggers of more than"
        " three tokens. The average over all text says little: it is made of what text there is"
        " and which tables were taken; chat between people, who say what first-person triggers say,"
        " is the line to look at.",
        "",
        *markdown.table(header, rows),
        'By how addresses are chosen (`min_order` with `context="shortest"`), all text and tables:',
        "",
    ]
    columns = {
        "found": "fires",
        "of longer triggers": "long",
        "trigger not said": "unsaid",
        "at an answer's tokens": "in_answers",
    }
    known = found.get("known")
    header = ["addresses", *columns]
    if known:
        header.append(f"known facts' prompts with a row, of {known['prompts']:,}, per table")
    rows = [
        [f"`{name}`", *(f"{_rate(one['all'], key):.2f}" for key in columns.values())]
        for name, one in ways.items()
    ]
    for row, name in zip(rows, ways, strict=True):
        if known:
            one = known["ways"][name]["all"]
            row.append(f"{one['fires'] / one['tables']:.1f}")
    lines += markdown.table(header, rows)
    often = [
        f"“{one['fired'].strip()}” ({one['what']} “{one['trigger']}”, {one['times']} in"
        f" {one['source']})"
        for one in default["most_often"]
    ]
    return [*lines, f"Most often: {', '.join(often)}.", ""] if often else lines


def _owners(run: dict[str, Any]) -> list[str]:
    found = run["other_owners"]
    same, forged, asked = found["identical_triggers"], found["forged"], found["asked"]
    return [
        f"**Other owners.** {same['look_ups']:,} look-ups in mixed batches of owners with identical"
        f" triggers: {same['foreign_rows']} rows of another owner, {same['own_row']:,} own rows."
        f" {forged['look_ups']:,} look-ups of addresses that land on another owner's entry of the"
        f" index: {forged['foreign_rows']} read. {asked['owners']} owners with the same triggers"
        f" and other answers, asked in one batch: {_of(asked['own'], asked['questions'])} their own"
        f" answer, {asked['foreign']} another's.",
        "",
    ]


def _of(count: int, whole: int) -> str:
    return f"{count:,} of {whole:,}"


def _divergence(losses: dict[str, Any]) -> str:
    return (
        f"{losses['divergence_nats']:.4f} ({losses['tokens']:,} tokens)" if losses["tokens"] else ""
    )


def _rate(cell: dict[str, int], key: str) -> float:
    return cell[key] / cell["tokens"] * _PER


def _rates(cell: dict[str, int]) -> str:
    return f"{_rate(cell, 'fires'):.2f} ({_rate(cell, 'long'):.2f})"


def _short(name: str) -> str:
    return name.removeprefix("min_order=").replace('context="full"', "whole trigger")


def plot(runs: list[dict[str, Any]]) -> Any:
    """Draw false fires by shortest address, and nats lost in near texts by words shared."""
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2))
    run = runs[0]  # addresses depend on the tokenizer alone; one run is enough to see
    found = run["false_fires"]
    ways = found["ways"]
    places = range(len(ways))
    for name in found["text"]:
        rates = [_rate(one["by_source"][name], "fires") for one in ways.values()]
        (line,) = left.plot(places, rates, marker="o", label=name)
        unsaid = [_rate(one["by_source"][name], "unsaid") for one in ways.values()]
        left.plot(places, unsaid, ":", color=line.get_color())
    left.set_yscale("symlog", linthresh=0.01)
    left.set_ylim(bottom=0)
    left.axhline(1, color="grey", linewidth=0.8)
    left.set_xticks(places, [_short(name) for name in ways])
    left.set_xlabel("shortest address allowed, tokens")
    left.set_ylabel("rows found in 100,000 tokens\n(dotted: where the trigger is not said)")
    left.legend(fontsize="x-small")
    for name, measured in run["near"].items():
        by_shared = measured["held_out"]["by_shared_words"]
        shared = sorted(by_shared, key=int)
        losses = [by_shared[n]["first_token_nats"] for n in shared]
        right.plot([int(n) for n in shared], losses, marker=".", label=_short(name))
    right.xaxis.get_major_locator().set_params(integer=True)
    right.set_xlabel("last words shared with a trigger")
    right.set_ylabel("nats that the next token loses")
    right.legend(fontsize="x-small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    return figure
