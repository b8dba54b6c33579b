"""The engram-poc pairs in trained banks: beside tables, a LoRA, and banks that know no n-grams.

    python -m benchmarks run bank_pairs [--sets small large] [--seeds 3 1] [--epochs 25 30]

Keys and values that hardly anything but memory can give, as in `exact_match`: each key once, all of
them learnt, all of them asked, by free greedy generation and the same judge. On one model, in one
run: the model as it came; a table, written in one call; a bank, trained with the base frozen; the
same bank where all n-grams read one row, and where each position reads what another one should; and
a LoRA on all linear layers. What is trained sees the same batches in the same order, for the same
epochs, and its loss is that of the answer, its stop and its end. Banks are as wide as the LoRA
costs FLOPs.

Then some of the pairs are asked in prompts that nothing was trained or written with, and text that
has nothing to do with any pair is read: how far did it move?

The learning rates of LoRA and bank are the best of a few by a quarter of the epochs on the first
set, with the first seed; what chooses is the loss of the pairs themselves, as a memory is to hold
what it was given. Controls take the bank's. Tables have nothing to choose.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.chats import has_template
from benchmarks.common import require
from benchmarks.exact_match import HELD, SETS, pairs_of
from benchmarks.promises import Promise, are_checked, at_least, promise
from benchmarks.setting import Setting
from benchmarks.trained import flops, pair_memory
from benchmarks.trained.blocks import in_blocks
from benchmarks.trained.conditions import (
    BANK,
    LORA,
    ONE_ROW,
    SHUFFLED,
    Condition,
    conditions,
    frozen,
    weights_digest,
)
from benchmarks.trained.losses import token_losses
from benchmarks.trained.other_texts import other_texts
from benchmarks.trained.pair_memory import TABLES, Task
from benchmarks.trained.pairs import (
    Answers,
    asked_otherwise,
    endings,
    examples,
    one_value_each,
    questions,
)
from benchmarks.trained.pairs_page import section
from benchmarks.trained.rates import choose_rates
from benchmarks.trained.training import Plan
from engram_transformers import EngramConfig

__all__ = ["NEEDS_MODEL", "SHOWN_UNMEASURED", "add_arguments", "run", "section"]

NEEDS_MODEL = True
SHOWN_UNMEASURED = True
TRAINED = (BANK, ONE_ROW, SHUFFLED, LORA)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    each = "of each set in turn, the last one for those left"
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--forms", nargs="+", choices=["chat", "text"], default=["text"])
    parser.add_argument("--pairs", type=int, help="of each set, the first ones; default all")
    parser.add_argument("--conditions", nargs="+", choices=TRAINED, default=list(TRAINED))
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 1], help=each)
    parser.add_argument("--epochs", type=int, nargs="+", default=[25, 30], help=each)
    parser.add_argument("--batch", type=int, nargs="+", default=[125, 1000], help=each)
    parser.add_argument("--otherwise", type=int, default=100, help="pairs asked in other prompts")
    parser.add_argument("--texts", type=int, default=32, help="blocks of other text")
    parser.add_argument("--length", type=int, default=512, help="tokens of a block")
    parser.add_argument("--rank", type=int, default=16, help="of the LoRA")
    parser.add_argument("--rows", type=int, default=50_000, help="of each bank")
    parser.add_argument("--layers", type=int, nargs="+", help="with a bank; default: two")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-3, 1e-2, 3e-2])
    parser.add_argument("--whole-precision", action="store_true", help="no bfloat16 in training")


def run(setting: Setting) -> dict[str, Any]:
    options = _small(setting.options) if setting.quick else setting.options
    config = setting.model.config.get_text_config()
    depth = config.num_hidden_layers
    layers = options.layers or [depth // 15, depth // 2]
    asked = EngramConfig(**setting.config_fields)
    heads = asked.bank_heads * (asked.bank_order - 1)
    lora = flops.of_lora(setting.model, options.rank)
    width = flops.bank_width(lora, config.hidden_size, len(layers), 2 * heads)
    everything = {one.name: one for one in conditions(options.rank, width)}
    chosen = [everything[name] for name in TRAINED if name in options.conditions]
    results: dict[str, Any] = {
        "layers": layers,
        "rank": options.rank,
        "width": width,
        "rows": options.rows,
        "bank_order": asked.bank_order,
        "autocast": setting.device.type == "cuda" and not options.whole_precision,
        "rates": {},
        "rates_tried": [],
        "sets": [],
    }
    with frozen(setting.model):
        for task, described in _tasks(setting, options):
            plans = _Plans(setting, options, described)
            if not results["sets"]:
                owners = [everything[name] for name in dict.fromkeys(c.rate_of for c in chosen)]
                results |= plans.choose(task, owners, layers)
            runs = [pair_memory.untouched(task)]
            for seed in range(setting.seed, setting.seed + described["seeds"]):
                runs.append(pair_memory.tables(task, seed))
                batches: set[str] = set()
                for one in chosen:
                    plan = plans.whole(results["rates"][one.rate_of], seed)
                    runs.append(pair_memory.trained(task, one, layers, options.rows, plan))
                    batches.add(runs[-1]["batches"])
                require(len(batches) <= 1, "with one seed, all saw the same batches in order")
            results["sets"].append({**described, "runs": runs})
    in_full = are_checked(setting) and options.pairs is None
    results["promises"] = promises(results["sets"], check_recall=in_full)
    return results


class _Plans:
    """How long the pairs of a set are trained on, and at which learning rates."""

    def __init__(
        self, setting: Setting, options: argparse.Namespace, described: dict[str, Any]
    ) -> None:
        self.setting = setting
        self.options = options
        self.pairs: int = described["pairs"]
        self.batch: int = described["batch"]
        self.epochs: int = described["epochs"]

    def whole(self, rate: float, seed: int) -> Plan:
        """Return the plan that counts."""
        return self._plan(self.epochs, rate, seed)

    def choose(self, task: Task, owners: Sequence[Condition], layers: list[int]) -> dict[str, Any]:
        """Return the best `rates`, and what was found: `rates_tried`."""
        options = self.options
        if len(options.rates) == 1:
            return {"rates": {one.name: options.rates[0] for one in owners}, "rates_tried": []}

        def trial(condition: Condition, rate: float) -> float:
            plan = self._plan(max(1, self.epochs // 4), rate, self.setting.seed)
            return pair_memory.trial(task, condition, layers, options.rows, plan)

        rates, tried = choose_rates(owners, options.rates, trial)
        return {"rates": rates, "rates_tried": tried}

    def _plan(self, epochs: int, rate: float, seed: int) -> Plan:
        steps = steps_of(self.pairs, self.batch, epochs)
        return Plan(steps, self.batch, rate, seed, not self.options.whole_precision)


def _tasks(setting: Setting, options: argparse.Namespace) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Yield each set in each form, with what is told of it."""
    model, tokenizer = setting.model, setting.tokenizer
    texts, texts_from = other_texts(setting.data)
    ids = in_blocks(tokenizer, texts, options.length, options.texts).ids
    base = token_losses(model, ids)
    digest = weights_digest(model)
    answers = Answers(tokenizer.pad_token_id)
    bank_order = EngramConfig(**setting.config_fields).bank_order
    for number, name in enumerate(options.sets):
        pairs, source = pairs_of(name, setting)
        keys = one_value_each(pairs[: options.pairs])
        seeds, epochs, batch = (
            each[min(number, len(each) - 1)]
            for each in (options.seeds, options.epochs, options.batch)
        )
        for form in options.forms:
            if form == "chat" and not has_template(tokenizer):
                print("no chat template: asked as text only")
                continue
            asked = questions(tokenizer, keys.pairs, form)
            rows = examples(tokenizer, asked, form)
            size = min(batch, len(rows))
            described = {
                "name": name,
                "form": form,
                "pairs_from": source,
                "pairs": len(rows),
                "keys_with_several_values": keys.with_several_values,
                "endings": endings(rows, bank_order),
                "tokens_an_epoch": sum(len(row.ids) for row in rows),
                "answer_tokens_an_epoch": sum(row.answer + row.end for row in rows),
                "other_text_from": texts_from,
                "seeds": seeds,
                "epochs": epochs,
                "batch": size,
                "steps": steps_of(len(rows), size, epochs),
            }
            otherwise = asked_otherwise(tokenizer, keys.pairs[: options.otherwise], form)
            print(f"{name}, {len(rows):,} pairs as {form}")
            yield (
                Task(setting, form, keys.pairs, asked, otherwise, rows, answers, ids, base, digest),
                described,
            )


def steps_of(pairs: int, batch: int, epochs: int) -> int:
    """Return how many batches read all pairs so often: all are full, the last one may go on."""
    return -(-pairs * epochs // batch)


def promises(sets: Sequence[dict[str, Any]], *, check_recall: bool) -> list[Promise]:
    """Return what must hold of tables; what a trained bank gives is not promised, but shown.

    Args:
        sets: What was measured.
        check_recall: Whether tables must hold nearly all pairs.
    """
    tables = [(one, run) for one in sets for run in one["runs"] if run["condition"] == TABLES]
    changed = sum(run["other_text"]["changed"] for _, run in tables)
    tokens = sum(run["other_text"]["tokens"] for _, run in tables)
    found = [
        promise(
            "Tables leave the loss of every token of other text exactly as it was",
            changed == 0,
            f"{changed:,} of {tokens:,} changed",
        )
    ]
    if check_recall:
        for one, run in tables:
            what = f"{one['pairs']:,} pairs in a table, as {one['form']}, seed {run['seed']}"
            found.append(at_least(what, HELD, run["whole"], run["asked"]))
    return found


def _small(options: argparse.Namespace) -> argparse.Namespace:
    """Return options of a run that shows only that it works."""
    small = {
        "sets": options.sets[:1],
        "pairs": min(options.pairs or 6, 60),
        "seeds": [1],
        "epochs": [2],
        "batch": [3],
        "otherwise": 2,
        "texts": 2,
        "length": 32,
        "rank": 4,
        "rows": 2_000,
        "rates": [1e-2],
    }
    return argparse.Namespace(**{**vars(options), **small})
