"""The README's table: a few figures of the main model, one column per machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from benchmarks.markdown import machine, percent, seconds, table
from benchmarks.methods.lora import FAIR
from benchmarks.storage import smallest

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
DTYPE = "float32"

Runs = dict[str, list[dict[str, Any]]]
Run = dict[str, Any]


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        name: What it shows.
        benchmark: Whose results it needs.
        cell: Turns a run into what is shown; empty if it has no such figure.
        unless: A benchmark that has the better figure: without its results this row is shown.
    """

    name: str
    benchmark: str
    cell: Callable[[Run], str]
    unless: str = ""


def block(runs: Runs) -> list[str]:
    """Return the table with what it is about; figures that nobody has measured are left out."""
    columns = by_machine(runs)
    found = {name for column in columns.values() for name in column}
    shown = [
        (row.name, [_cell(row, column) for column in columns.values()])
        for row in ROWS
        if row.unless not in found
    ]
    rows = [[name, *cells] for name, cells in shown if any(cells)]
    return [
        f"{MODEL}, whole answers by free greedy generation ([all figures](docs/benchmarks.md)):",
        "",
        *table(["", *columns], rows),
        f"Made at {_commits(columns)}.",
    ]


def _commits(columns: dict[str, dict[str, Run]]) -> str:
    """Return which benchmarks were run at which commit: one column may mix several."""
    found: dict[str, set[str]] = {}
    for column in columns.values():
        for name, run in column.items():
            found.setdefault(str(run["environment"]["commit"]), set()).add(name)
    shown = [f"commit {commit} ({', '.join(sorted(names))})" for commit, names in found.items()]
    return "; ".join(shown) or "no commit"


def by_machine(runs: Runs) -> dict[str, dict[str, Run]]:
    """Return the results of the main model in float32, by machine and benchmark."""
    columns: dict[str, dict[str, Run]] = {}
    for name in dict.fromkeys(row.benchmark for row in ROWS):
        for run in runs.get(name, []):
            if run["model"] == MODEL and run["dtype"] == DTYPE and not run.get("settings"):
                columns.setdefault(machine(run), {})[name] = run
    return columns


def _cell(row: Row, column: dict[str, Run]) -> str:
    run = column.get(row.benchmark)
    return row.cell(run) if run else ""


def _share(counts: Iterable[dict[str, Any]]) -> str:
    """Return the share of whole answers, over several counts."""
    counts = list(counts)
    asked = sum(one["asked"] for one in counts)
    return percent(sum(one["whole"] for one in counts) / asked) if asked else ""


def _density(source: str, facts: int) -> Callable[[Run], str]:
    def cell(run: Run) -> str:
        points = [p for s in run["sources"] if s["name"] == source for p in s["points"]]
        return _share(point for point in points if point["facts"] == facts)

    return cell


def _contexts(run: Run) -> str:
    asked = run["contexts"]
    worst = min(one["whole"] / one["asked"] for one in asked)
    return f"{_share(asked)} (worst of {len(asked)}: {percent(worst)})"


def _chat(run: Run) -> str:
    return _share(one for group in run["groups"] for one in group["asked"])


def _exact_match(run: Run) -> str:
    return ", ".join(f"{_share([one])} of {one['asked']:,} as {one['form']}" for one in run["sets"])


def _stacking(run: Run) -> str:
    deepest = run["stacks"][-1]
    facts = run["facts_per_table"]
    return f"{deepest['lost']:,} of {deepest['asked']:,} ({deepest['tables']} × {facts} facts)"


def _conflict(run: Run) -> str:
    found = run["updates"]
    return f"{found['latest_answered']} of {found['updates']}, {found['leftovers']} left over"


def _storage(run: Run) -> str:
    best = smallest(run["points"], 100, 1.0)
    if best is None:
        return ""
    return f"{best['bytes_of_rows_and_addresses']:,} ({best['row_dim']} × {best['row_dtype']})"


def _fair_lora(run: Run) -> dict[str, Any] | None:
    return run["counts"][0].get("lora_over_ours", {}).get(FAIR)


def _times(key: str) -> Callable[[Run], str]:
    def cell(run: Run) -> str:
        over = _fair_lora(run)
        return f"{over[key]:,.0f}" if over else ""

    return cell


def _lora_recall(run: Run) -> str:
    over = _fair_lora(run)
    return percent(over["recall"]) if over else ""


def _fires(run: Run) -> str:
    found = run["false_fires"]
    total = found["ways"][found["default"]]["all"]
    return f"{total['fires'] / total['tokens'] * 1e5:.2f}"


def _bits(run: Run) -> str:
    found = [(name, one["sentences"]) for name, one in run["bits"].items() if "sentences" in one]
    return ", ".join(f"{one['equal']:,} of {one['without_row']:,} ({name})" for name, one in found)


def _layered(condition: str) -> Callable[[Run], str]:
    def cell(run: Run) -> str:
        found = [one for one in run["conditions"] if one["name"] == condition and one["runs"]]
        if not found:
            return ""
        share, asked = found[0]["share"], found[0]["runs"][0]["asked"]
        spread = f" ({percent(share['min'])} to {percent(share['max'])})" if share["n"] > 1 else ""
        return f"{percent(share['mean'])} of {asked}{spread}"

    return cell


def _written(place: int, cell: Callable[[dict[str, Any]], str]) -> Callable[[Run], str]:
    return lambda run: cell(run["write"][place]) if len(run["write"]) > place else ""


def _worst_context(one: dict[str, Any]) -> str:
    shares = [entry["recall"] for entry in one["recall"].values()]
    return f"{percent(min(shares))} (of {len(shares)})"


def _alone(one: dict[str, Any]) -> str:
    return percent(one["recall"]["nothing"]["recall"])


def _identical(run: Run) -> str:
    found = run["locality"].values()
    return " and ".join(f"{f['bit_identical']:,} of {f['sentences']:,}" for f in found)


ROWS = (
    Row("100 made-up facts of 15 kinds recalled", "density", _density("generated", 100)),
    Row("1,000 made-up facts", "density", _density("generated", 1_000)),
    Row("10,000 made-up facts", "density", _density("generated", 10_000)),
    Row("100 published facts recalled", "density", _density("published", 100)),
    Row("1,000 published facts", "density", _density("published", 1_000)),
    Row("100 facts recalled, alone", "write", _written(0, _alone), "density"),
    Row("1,000 facts recalled, alone", "write", _written(1, _alone), "density"),
    Row("after 0 to 2,000 tokens of other text", "contexts", _contexts),
    Row("in the worst of other contexts", "write", _written(0, _worst_context), "contexts"),
    Row("asked in chats, also after other turns", "chat", _chat),
    Row("keys and values of engram-poc", "exact_match", _exact_match),
    Row("answers lost in a stack of tables", "stacking", _stacking),
    Row("updates of one fact: the latest wins", "conflict", _conflict),
    Row(
        "seconds to write 100 (asking apart)",
        "write",
        _written(0, lambda one: seconds(one["seconds"])),
    ),
    Row("bytes on disk, 100 facts", "write", _written(0, lambda one: f"{one['bytes_on_disk']:,}")),
    Row("questions around corners, rows + the shared skill", "layered", _layered("rows-skill")),
    Row("the commonest answer of others instead", "layered", _layered("prior-data")),
    Row("rows of a wrong user + the skill", "layered", _layered("wrong-user")),
    Row("fewest bytes of rows and addresses that recall all 100", "storage", _storage),
    Row("a fair LoRA per user on the same facts: times our seconds", "compare", _times("seconds")),
    Row("times our bytes", "compare", _times("bytes")),
    Row("its recall", "compare", _lora_recall),
    Row("rows found in 100,000 tokens of real text, per 100 facts", "locality", _fires),
    Row("sentences without a trigger left bit-identical", "locality", _bits),
    Row("sentences left bit-identical, fp32 and bf16", "write", _identical, "locality"),
)
