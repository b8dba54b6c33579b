"""Banks from the start: a small model trained with and without, and what switching them off costs.

    python -m benchmarks run bank_scratch [--seeds 3] [--steps 500] [--text FILE ...]

A Llama is trained from scratch on reference texts of installed packages, or on text files, with a
tokenizer of its own; once as it is, and once with banks that learn together with it and whose cost
is taken off the width of all MLPs, so that FLOPs per token are the same. Rows are not counted: they
cost no arithmetic. Both see the same batches in the same order, at the same learning rate.

Then the banks of the trained model are switched off, as in DeepSeek's Engram (arXiv 2601.07372):
how much does the loss rise on facts, names that go on as they did in training, and how much on
reading, other tokens after n-grams that training never had?
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

from benchmarks.promises import Promise, promise
from benchmarks.setting import Setting
from benchmarks.trained import flops
from benchmarks.trained.blocks import in_blocks, times_seen
from benchmarks.trained.kinds import by_kind, kinds, tokens
from benchmarks.trained.losses import mean, token_losses
from benchmarks.trained.reference_texts import PACKAGES, collect, digest, split
from benchmarks.trained.scratch import Shape, documents, new_model, new_tokenizer
from benchmarks.trained.scratch_page import section
from benchmarks.trained.training import Plan, train
from engram_transformers import EngramConfig, engram_disabled

__all__ = ["NEEDS_MODEL", "SHOWN_UNMEASURED", "add_arguments", "run", "section"]

NEEDS_MODEL = False
SHOWN_UNMEASURED = True
NEAR = 0.02
"""By what share the model with banks may cost fewer FLOPs per token."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # torch brings sympy and networkx.
    parser.add_argument("--packages", nargs="+", default=[*PACKAGES, "sympy", "networkx"])
    parser.add_argument("--characters", type=int, default=8_000_000, help="of each package")
    parser.add_argument("--text", type=Path, nargs="+", help="text files, in place of packages")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=32, help="blocks in a step")
    parser.add_argument("--length", type=int, default=512, help="tokens of a block")
    parser.add_argument("--validation", type=int, default=200, help="blocks, at most")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--mlp", type=int, default=1024, help="width, without a bank")
    parser.add_argument("--bank-layers", type=int, nargs="+", help="default: two")
    parser.add_argument("--bank-dim", type=int, default=384)
    parser.add_argument("--rows", type=int, default=200_000, help="of each bank")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--often", type=int, default=2, help="times that make an n-gram a seen one")
    parser.add_argument("--whole-precision", action="store_true", help="no bfloat16 in training")


def run(setting: Setting) -> dict[str, Any]:
    options = _small(setting.options) if setting.quick else setting.options
    depth = options.layers
    shape = Shape(
        depth,
        options.hidden,
        options.heads,
        options.mlp,
        options.length,
        tuple(options.bank_layers or (depth // 8, depth // 2)),
        options.bank_dim,
        options.rows,
    )
    texts = _Texts(options)
    runs: list[dict[str, Any]] = []
    for seed in range(setting.seed, setting.seed + options.seeds):
        for with_bank in (False, True):
            runs.append(measure(setting, options, shape, texts, seed, with_bank=with_bank))
    autocast = setting.device.type == "cuda" and not options.whole_precision
    return {
        "model": f"Llama from scratch, {depth} layers, {options.hidden} wide",
        "dtype": "bfloat16 by autocast" if autocast else "float32",
        **texts.described,
        "layers": shape.bank_layers,
        "bank_dim": shape.bank_dim,
        "rows": shape.rows,
        "steps": options.steps,
        "tokens_a_step": options.batch * options.length,
        "learning_rate": options.rate,
        "often": options.often,
        "runs": runs,
        "promises": promises(runs, check_costs=not setting.quick),
    }


class _Texts:
    """The texts in tokens of their own tokenizer."""

    def __init__(self, options: argparse.Namespace) -> None:
        if options.text:
            texts, packages = documents(options.text), []
        else:
            texts, packages = collect(options.packages, options.characters)
        texts.sort(key=lambda text: xxhash.xxh3_64_intdigest(text.name.encode()))
        parts = split(texts)
        training = [one.text for one in (*parts.training, *parts.choosing)]
        validation = [one.text for one in parts.validation]
        self.tokenizer = new_tokenizer(training, options.vocabulary)
        self.training = in_blocks(self.tokenizer, training, options.length).ids
        held_out = in_blocks(self.tokenizer, validation, options.length, options.validation)
        self.validation = held_out.ids
        seen = times_seen(self.training, self.validation, EngramConfig().bank_order + 1)
        self.kinds = kinds(held_out.in_name, seen, options.often)
        self.described = {
            "packages": packages,
            "files": [file.name for file in options.text or ()],
            "texts_digest": digest(texts),
            "tokens": {
                "training": self.training.numel(),
                "validation": self.validation.numel(),
            },
            "kind_tokens": tokens(self.kinds),
        }

    def figures(self, losses: Tensor) -> dict[str, Any]:
        """Return what is told of some losses, in nats per token."""
        return {"validation": mean(losses), "kinds": by_kind(losses, self.kinds)}


def measure(
    setting: Setting,
    options: argparse.Namespace,
    shape: Shape,
    texts: _Texts,
    seed: int,
    *,
    with_bank: bool,
) -> dict[str, Any]:
    """Train a model, validate it, and, if it has banks, validate it without them."""
    model = new_model(shape, texts.tokenizer, seed, with_bank=with_bank).to(setting.device)
    cost = flops.count(model, options.length)
    tables = [weight.numel() for name, weight in model.named_parameters() if ".table." in name]
    every = sum(weight.numel() for weight in model.parameters())
    plan = Plan(options.steps, options.batch, options.rate, seed, not options.whole_precision)
    trained = train(model, texts.training, plan, setting.device)
    losses = token_losses(model, texts.validation)
    found = {
        "seed": seed,
        "bank": with_bank,
        "mlp": model.config.intermediate_size,
        "weights": every - sum(tables),
        "numbers_in_rows": sum(tables),
        "flops": {**cost._asdict(), "forward": cost.forward, "step": cost.whole_step},
        **texts.figures(losses),
        **trained,
    }
    if with_bank:
        with engram_disabled(model):
            off = token_losses(model, texts.validation)
        found["off"] = texts.figures(off)
        found["off_changes"] = not torch.equal(off, losses)
        found["on_again_equal"] = torch.equal(token_losses(model, texts.validation), losses)
    name = "with banks" if with_bank else "without banks"
    off_too = f", {found['off']['validation']:.4f} switched off" if with_bank else ""
    print(
        f"{name}, seed {seed}: {found['validation']:.4f} nats per token{off_too},"
        f" {found['seconds']:.1f} s of training"
    )
    return found


def promises(runs: list[dict[str, Any]], *, check_costs: bool) -> list[Promise]:
    """Return what must hold for the comparison to be one; that banks win is not promised.

    Args:
        runs: What was measured.
        check_costs: Whether FLOPs must be near: MLPs of tiny models can't be cut so finely.
    """
    seeds = sorted({run["seed"] for run in runs})
    batches = [{run["batches"] for run in runs if run["seed"] == seed} for seed in seeds]
    plain = max(run["flops"]["forward"] for run in runs if not run["bank"])
    with_bank = [run["flops"]["forward"] for run in runs if run["bank"]]
    least = (1 - NEAR) * plain if check_costs else 0
    fewer = f", and not {NEAR:.0%} fewer" if check_costs else ""
    return [
        promise(
            f"Banks cost no FLOPs: the model with banks has at most as many{fewer}",
            all(least < cost <= plain for cost in with_bank),
            f"{plain:,} without, {', '.join(f'{cost:,}' for cost in sorted(set(with_bank)))} with",
        ),
        promise(
            "With one seed, both saw the same batches in the same order",
            all(len(digests) == 1 for digests in batches),
        ),
        promise(
            "Switching banks off changes losses, and switching them on again gives the same ones",
            all(run["off_changes"] and run["on_again_equal"] for run in runs if run["bank"]),
        ),
    ]


def _small(options: argparse.Namespace) -> argparse.Namespace:
    """Return options of a run that shows only that it works."""
    small = {
        "packages": ["huggingface_hub"],
        "characters": 60_000,
        "seeds": min(options.seeds, 2),
        "steps": 8,
        "batch": 4,
        "length": 32,
        "validation": 32,
        "vocabulary": 400,
        "layers": 4,
        "hidden": 32,
        "heads": 2,
        "mlp": 128,
        "bank_layers": [0, 2],
        "bank_dim": 32,
        "rows": 4_000,
        "rate": 1e-2,
    }
    return argparse.Namespace(**{**vars(options), **small})
