"""Trained banks on a domain: validation loss beside a LoRA of the same cost, and two controls.

    python -m benchmarks run bank_corpus [--seeds 3] [--steps 160] [--packages torch numpy]

The model is frozen. On reference texts of installed packages are trained: a LoRA on all linear
layers; banks as wide as the LoRA costs FLOPs; both together, each half as large, and each whole;
and two banks of the same size that can know nothing of their n-grams: in one, all read the same
row; in the other, each position reads what another one should. All see the same batches in the
same order. Validated on objects that no training text is about, and on text of another kind.

The learning rate of each is the best of a few, by a run of a quarter of the steps with the first
seed, on objects that are in neither part. Controls take the bank's.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
import xxhash
from torch import Tensor

from benchmarks.promises import Promise, promise
from benchmarks.setting import Setting
from benchmarks.trained import flops
from benchmarks.trained.blocks import Blocks, in_blocks, times_seen
from benchmarks.trained.conditions import (
    ONE_ROW,
    Condition,
    attached,
    conditions,
    frozen,
    switched_off,
    weights_digest,
)
from benchmarks.trained.corpus_page import section
from benchmarks.trained.kinds import by_kind, kinds, tokens
from benchmarks.trained.losses import mean, token_losses
from benchmarks.trained.other_texts import other_texts
from benchmarks.trained.rates import choose_rates
from benchmarks.trained.reference_texts import CHARACTERS, PACKAGES, collect, digest, split
from benchmarks.trained.training import Plan, train
from engram_transformers import EngramConfig
from engram_transformers.attachment import find_attachment

__all__ = ["NEEDS_MODEL", "SHOWN_UNMEASURED", "add_arguments", "run", "section"]

NEEDS_MODEL = True
SHOWN_UNMEASURED = True
NEAR = 0.02
"""By what share the FLOPs of conditions that are to cost the same may differ."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--packages", nargs="+", default=list(PACKAGES))
    parser.add_argument("--characters", type=int, default=CHARACTERS, help="of each package")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--batch", type=int, default=16, help="blocks in a step")
    parser.add_argument("--length", type=int, default=512, help="tokens of a block")
    parser.add_argument("--validation", type=int, default=200, help="blocks, at most")
    parser.add_argument("--rank", type=int, default=16, help="of the LoRA, even")
    parser.add_argument("--rows", type=int, default=200_000, help="of each bank")
    parser.add_argument("--layers", type=int, nargs="+", help="with a bank; default: two")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3, 1e-2])
    parser.add_argument("--often", type=int, default=2, help="times that make an n-gram a seen one")
    parser.add_argument("--whole-precision", action="store_true", help="no bfloat16 in training")


def run(setting: Setting) -> dict[str, Any]:
    options = _small(setting.options) if setting.quick else setting.options
    model = setting.model
    config = model.config.get_text_config()
    hidden_size, depth = config.hidden_size, config.num_hidden_layers
    layers = options.layers or [depth // 15, depth // 2]
    asked = EngramConfig(**setting.config_fields)
    heads, orders = asked.bank_heads, asked.bank_order - 1
    width = flops.bank_width(
        flops.of_lora(model, options.rank), hidden_size, len(layers), 2 * heads * orders
    )
    everything = conditions(options.rank, width)
    with frozen(model):
        before = weights_digest(model)
        domain = _Domain(setting, options)

        def trial(condition: Condition, rate: float) -> float:
            plan = _plan(options, max(1, options.steps // 4), rate, setting.seed)
            with attached(setting, condition, layers, options.rows, setting.seed) as whole:
                train(whole, domain.training, plan, setting.device)
                return float(token_losses(whole, domain.choosing).double().mean())

        rates, tried = choose_rates(everything, options.rates, trial)
        runs: list[dict[str, Any]] = []
        for seed in range(setting.seed, setting.seed + options.seeds):
            for condition in everything:
                rate = rates[condition.rate_of]
                one = measure(setting, options, layers, condition, domain, rate, seed)
                one["base_unchanged"] = weights_digest(model) == before
                runs.append(one)
    return {
        **domain.described,
        "layers": layers,
        "rank": options.rank,
        "width": width,
        "rows": options.rows,
        "steps": options.steps,
        "tokens_a_step": options.batch * options.length,
        "often": options.often,
        "autocast": setting.device.type == "cuda" and not options.whole_precision,
        "rates": rates,
        "rates_tried": tried,
        "untouched": domain.figures(domain.base_losses, domain.base_unrelated),
        "runs": runs,
        "promises": promises(runs, orders * heads * len(layers), check_costs=not setting.quick),
    }


class _Domain:
    """The texts in tokens, and the untouched model's losses."""

    def __init__(self, setting: Setting, options: argparse.Namespace) -> None:
        texts, packages = collect(options.packages, options.characters)
        # Packages mixed, so that a part of the blocks is a part of each.
        texts.sort(key=lambda text: xxhash.xxh3_64_intdigest(text.name.encode()))
        parts = split(texts)
        unrelated, unrelated_from = other_texts(setting.data)

        def blocks(texts: list[str], most: int) -> Blocks:
            return in_blocks(setting.tokenizer, texts, options.length, most)

        training, choosing, validation = ([one.text for one in part] for part in parts)
        self.training = blocks(training, options.steps * options.batch).ids
        self.choosing = blocks(choosing, options.validation // 2).ids
        held_out = blocks(validation, options.validation)
        self.validation = held_out.ids
        self.unrelated = blocks(unrelated, options.validation // 2).ids
        order = EngramConfig(**setting.config_fields).bank_order + 1
        seen = times_seen(self.training, self.validation, order)
        self._kinds = kinds(held_out.in_name, seen, options.often)
        self.base_losses = token_losses(setting.model, self.validation)
        self.base_unrelated = token_losses(setting.model, self.unrelated)
        self.described = {
            "packages": packages,
            "texts_digest": digest(texts),
            "objects": {name: len(part) for name, part in parts._asdict().items()},
            "tokens": {
                "training": self.training.numel(),
                "choosing": self.choosing.numel(),
                "validation": self.validation.numel(),
                "unrelated": self.unrelated.numel(),
            },
            "unrelated_from": unrelated_from,
            "kind_tokens": tokens(self._kinds),
        }

    def figures(self, losses: Tensor, unrelated: Tensor) -> dict[str, Any]:
        """Return what is told of some losses, in nats per token."""
        return {
            "validation": mean(losses),
            "unrelated": mean(unrelated),
            "kinds": by_kind(losses, self._kinds),
        }


def measure(
    setting: Setting,
    options: argparse.Namespace,
    layers: list[int],
    condition: Condition,
    domain: _Domain,
    rate: float,
    seed: int,
) -> dict[str, Any]:
    """Train a condition with one seed, and validate it; look at what must stay as it was."""
    plan = _plan(options, options.steps, rate, seed)
    with attached(setting, condition, layers, options.rows, seed) as whole:
        fresh = token_losses(whole, domain.unrelated)
        cost = flops.count(whole, options.length)
        patched = find_attachment(whole)
        banks = patched.banks.values() if patched else ()
        all_rows = sum(bank.bank_hash.rows for bank in banks)
        trained = train(whole, domain.training, plan, setting.device)
        losses = token_losses(whole, domain.validation)
        unrelated = token_losses(whole, domain.unrelated)
        with switched_off(whole, condition):
            off = token_losses(whole, domain.validation)
    found = {
        "condition": condition.name,
        "seed": seed,
        "learning_rate": rate,
        "same_flops": condition.same_flops,
        "all_rows": all_rows,
        "flops": {**cost._asdict(), "added": cost.added, "step": cost.frozen_base_step},
        **domain.figures(losses, unrelated),
        "fresh_equals_base": torch.equal(fresh, domain.base_unrelated),
        "off_equals_base": torch.equal(off, domain.base_losses),
        **trained,
    }
    print(
        f"{condition.name}, seed {seed}: {found['validation']:.4f} nats per token on the domain,"
        f" {found['unrelated']:.4f} on other text, {found['seconds']:.1f} s of training"
    )
    return found


def promises(runs: list[dict[str, Any]], heads: int, *, check_costs: bool) -> list[Promise]:
    """Return what must hold of controls and exactness; that anything wins is not promised.

    Args:
        runs: What was measured.
        heads: Of all orders and banks.
        check_costs: Whether FLOPs must be alike: banks of tiny models can't be cut so finely.
    """
    seeds = sorted({run["seed"] for run in runs})
    batches = [{run["batches"] for run in runs if run["seed"] == seed} for seed in seeds]
    costs = [run["flops"]["added"] for run in runs if run["same_flops"]]
    touched = {
        run["telemetry"]["rows_touched"] * run["all_rows"]
        for run in runs
        if run["condition"] == ONE_ROW
    }
    found = [
        promise("The base's weights are bit for bit unchanged", _all(runs, "base_unchanged")),
        promise("What is new adds exactly nothing", _all(runs, "fresh_equals_base")),
        promise(
            "Switched off, every token's loss is exactly the base's", _all(runs, "off_equals_base")
        ),
        promise(
            "With one seed, all saw the same batches in the same order",
            all(len(digests) == 1 for digests in batches),
        ),
        promise(
            "The bank of one row a head trained one row a head",
            all(round(count) == heads for count in touched),
        ),
    ]
    if check_costs:
        least, most = min(costs), max(costs)
        found.append(
            promise(
                f"What is to cost the same does within {NEAR:.0%}",
                least >= (1 - NEAR) * most,
                f"{least:,} to {most:,} FLOPs per token",
            )
        )
    return found


def _all(runs: list[dict[str, Any]], name: str) -> bool:
    return all(run[name] for run in runs)


def _plan(options: argparse.Namespace, steps: int, rate: float, seed: int) -> Plan:
    return Plan(steps, options.batch, rate, seed, not options.whole_precision)


def _small(options: argparse.Namespace) -> argparse.Namespace:
    """Return options of a run that shows only that it works."""
    small = {
        "packages": ["huggingface_hub"],
        "characters": 60_000,
        "seeds": min(options.seeds, 2),
        "steps": 4,
        "batch": 2,
        "length": 32,
        "validation": 8,
        "rank": 4,
        "rows": 400,
        "rates": [1e-3, 1e-2],
    }
    return argparse.Namespace(**{**vars(options), **small})
