"""Train the shared skill: the adapter in `skills/`, from made-up people.

python -m benchmarks.train_skill --output skills/smollm2-135m-instruct --device cuda
"""

from __future__ import annotations

import argparse
import os
import random
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.common import environment
from benchmarks.skill import chains, direct, drills, families, general, personal, told
from benchmarks.skill.card import write_card
from engram_transformers import Episode, read_episodes, train_shared_lora
from engram_transformers.lora import public_name
from engram_transformers.pretrained import load_pretrained
from engram_transformers.skill.in_order import in_order
from engram_transformers.skill.traces import with_names_shown

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
SHARES = {
    "direct": 0.24,
    "personal": 0.12,
    "families": 0.22,
    "chains": 0.14,
    "told": 0.16,
    "drills": 0.12,
}
"""Which share of the episodes is of each kind."""
ORDINARY = 0.2
"""Ordinary texts and chats, for each episode."""
WITH_NAMES = 0.4
"""The share of chats in which names of facts are shown."""
_AT_ONCE = 2000
"""So many episodes are made at once."""
_MOST_JOBS = 1_000_000
"""Seeds that one seed is good for."""
_CONTINUED = 1500
"""So many texts of the model's own are made; more take long."""


class Job(NamedTuple):
    """Episodes of one kind that are made at once.

    Attributes:
        kind: Of `SHARES`.
        number: How many.
        seed: Of the people, the questions and their order.
        all_families: Whether the families that are held out are among them.
    """

    kind: str
    number: int
    seed: int
    all_families: bool


def episodes(
    count: int,
    seed: int,
    without: tuple[str, ...] = (),
    *,
    all_families: bool = False,
    workers: int = 0,
) -> list[Episode]:
    """Return what the skill is trained on.

    Args:
        count: How many episodes, if no kind is left out.
        seed: Of the people, the questions and their order.
        without: Kinds to leave out, of `SHARES`.
        all_families: Whether those that are held out are among them: to see what a family gains
            from its own formats.
        workers: Processes that make them; they come out the same.
    """
    jobs = [
        Job(
            kind, min(_AT_ONCE, number - start), seed * _MOST_JOBS + start // _AT_ONCE, all_families
        )
        for kind, share in SHARES.items()
        if kind not in without
        for number in (round(count * share),)
        for start in range(0, number, _AT_ONCE)
    ]
    return [one for made in in_order(_made, jobs, workers, at_once=1) for one in made]


def _made(job: Job) -> list[Episode]:
    kind, number, seed, all_families = job
    if kind == "direct":
        return direct.episodes(direct.split()[0], number, seed)
    if kind == "families":
        others = families.held_out() if all_families else []
        return families.episodes([*families.training(), *others], number, seed)
    if kind == "told":
        return told.episodes(told.split()[0], number, seed)
    return {"personal": personal, "chains": chains, "drills": drills}[kind].episodes(number, seed)


def ordinary(model: Any, tokenizer: Any, count: int, seed: int) -> list[Any]:
    """Return text and chats on which the model is to stay as it is.

    A third each: texts, chats that the model answers, a part of them with names of facts that they
    do not need, and texts that it goes on with by itself. Each kind is repeated if there are fewer.

    Args:
        model: The model without any adapter.
        tokenizer: Its tokenizer.
        count: How many.
        seed: Of what it says by itself.
    """
    third = -(-count // 3)
    questions = _with_names(general.questions()[0][:third], seed)
    chats = [[{"role": "user", "content": question}] for question in questions]
    answers = said(model, tokenizer, [_rendered(tokenizer, chat) for chat in chats])
    answered = [
        [*chat, {"role": "assistant", "content": answer}]
        for chat, answer in zip(chats, answers, strict=True)
        if answer
    ]
    begun = general.openings(min(third, _CONTINUED), seed)
    torch.manual_seed(seed)
    going_on = said(model, tokenizer, begun, do_sample=True, top_k=0, top_p=0.9)
    own = [f"{begins} {goes_on}" for begins, goes_on in zip(begun, going_on, strict=True)]
    kinds: list[list[Any]] = [general.texts()[0], answered, own]
    return [one for kind in kinds for one in (kind * (third // len(kind) + 1))[:third]]


def _with_names(questions: list[str], seed: int) -> list[str]:
    """Show names of facts with some questions, as they are shown with those that need them."""
    lot = random.Random(seed)
    keys = [one.key for one in direct.split()[0]]
    return [
        with_names_shown(question, lot.sample(keys, lot.randint(2, 12)))
        if lot.random() < WITH_NAMES
        else question
        for question in questions
    ]


def said(model: Any, tokenizer: Any, prompts: list[str], **how: Any) -> list[str]:
    """Return what a model goes on with: greedily, unless `how` says otherwise."""
    found: list[str] = []
    for start in range(0, len(prompts), 256):
        inputs = tokenizer(prompts[start : start + 256], return_tensors="pt", padding=True).to(
            model.device
        )
        with torch.no_grad():
            output = model.generate(
                **inputs,
                max_new_tokens=64,
                pad_token_id=tokenizer.eos_token_id,
                **{"do_sample": False, **how},
            )
        new = output[:, inputs["input_ids"].shape[1] :]
        found += [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
    return found


def _rendered(tokenizer: Any, chat: list[dict[str, str]]) -> str:
    return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=MODEL, help="folder or Hub id")
    parser.add_argument("--label", help="the model's Hub id, if --model is a folder")
    parser.add_argument("--output", type=Path, required=True, help="folder of the adapter")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", nargs="*", default=(), choices=SHARES, help="kinds left out")
    parser.add_argument(
        "--all-families", action="store_true", help="train on the held-out families, too"
    )
    parser.add_argument(
        "--episodes", nargs="*", type=Path, default=(), help="more, as save_episodes keeps them"
    )
    parser.add_argument("--bf16", action="store_true", help="train in mixed precision")
    parser.add_argument("--compile", action="store_true", help="run blocks through torch.compile")
    parser.add_argument(
        "--workers", type=int, default=min(os.cpu_count() or 1, 8), help="processes that load data"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    asked = parser.parse_args(arguments)
    torch.set_float32_matmul_precision("high")
    model, tokenizer = load_pretrained(asked.model, device=torch.device(asked.device))
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    started = time.perf_counter()
    count = round(asked.steps * asked.batch_size / (1 + ORDINARY))
    more = [one for file in asked.episodes for one in read_episodes(file)]
    made = episodes(
        count,
        asked.seed,
        tuple(asked.without),
        all_families=asked.all_families,
        workers=asked.workers,
    )
    made += more
    texts = ordinary(model, tokenizer, round(count * ORDINARY), asked.seed)
    spent = time.perf_counter() - started
    print(f"{len(made)} episodes, {len(texts)} ordinary texts: {spent:.0f} s", flush=True)
    started = time.perf_counter()
    train_shared_lora(
        model,
        tokenizer,
        made,
        asked.output,
        ordinary_texts=texts,
        rank=asked.rank,
        learning_rate=asked.learning_rate,
        batch_size=asked.batch_size,
        max_length=512,
        seed=asked.seed,
        resume=asked.resume,
        compile_blocks=asked.compile,
        epochs=100,
        max_steps=asked.steps,
        bf16=asked.bf16,
        use_cpu=asked.device == "cpu",
        dataloader_num_workers=asked.workers,
        save_strategy="steps",
        save_steps=500,
        save_total_limit=1,
        logging_steps=100,
    )
    seconds = time.perf_counter() - started
    machine = environment(torch.device(asked.device))
    facts = {
        "options": _options(asked, parser),
        "episodes": len(made),
        "ordinary": len(texts),
        "kinds": ", ".join(kind for kind in SHARES if kind not in asked.without),
        "seconds": seconds,
        "device": machine["device"],
        "commit": machine["commit"],
    }
    write_card(asked.output, asked.label or public_name(asked.model), facts)
    print(f"trained in {seconds:.0f} s: {asked.output}")


def _options(asked: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    """Return what was asked for besides the defaults, as it is typed."""
    said = ""
    for name, value in vars(asked).items():
        if name in ("model", "label", "output", "device", "resume", "workers"):
            continue
        if value != parser.get_default(name):
            values = value if isinstance(value, (list, tuple)) else [value] * (value is not True)
            given = (one.name if isinstance(one, Path) else str(one) for one in values)
            said += " ".join([f" --{name.replace('_', '-')}", *given])
    return said


if __name__ == "__main__":
    main()
