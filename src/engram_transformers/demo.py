"""The demo: write users' facts into a real model, ask them everywhere, erase them, and reason."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engram_transformers.attachment import require_attachment
from engram_transformers.demo_promises import demo_promises
from engram_transformers.demo_report import DemoReport, shown_name
from engram_transformers.demo_skill import ask_around_corners
from engram_transformers.demo_steps import Steps
from engram_transformers.explanation import SequenceExplanation
from engram_transformers.pretrained import load_pretrained
from engram_transformers.skill.shipped import shipped_skill

if TYPE_CHECKING:
    from engram_transformers.demo_screen import Screen


@dataclass(frozen=True)
class DemoOptions:
    """What the demo runs on.

    Attributes:
        model: Hub id or folder.
        facts: How many facts of each user, from the first.
        layers: Blocks with memories; None for the default.
        device: Where the model runs.
    """

    model: str
    facts: int
    layers: tuple[int, ...] | None
    device: str


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        report: The figures.
        explained: Some texts with headings: where rows fired.
    """

    report: DemoReport
    explained: tuple[tuple[str, SequenceExplanation], ...]


def run_demo(options: DemoOptions, screen: Screen) -> DemoResult:
    """Run the demo.

    Args:
        options: On what.
        screen: Shown each figure as soon as it is there.

    Returns:
        All of them.
    """
    started = time.perf_counter()
    with screen.step(f"Loading {shown_name(options.model)}", None):
        model, tokenizer = load_pretrained(options.model, device=options.device)
    load_seconds = time.perf_counter() - started
    name = shown_name(options.model)
    demo = Steps(model, tokenizer, name, options.facts, options.layers, screen)
    demo.read_base()
    demo.write()
    answers = demo.answers()
    users = demo.recall()
    batch = demo.one_batch()
    unrelated, near = demo.locality()
    explained = demo.explained(near)
    erasure = demo.erase()
    skill = shipped_skill(options.model)
    around_corners = () if skill is None else ask_around_corners(model, tokenizer, skill, screen)
    attachment = require_attachment(model)
    report = DemoReport(
        name,
        demo.tables[0].binding.model,
        attachment.config.to_dict(),
        load_seconds,
        time.perf_counter() - started,
        answers,
        users,
        batch,
        unrelated,
        near,
        erasure,
        demo_promises(users, batch, unrelated, near, erasure),
        around_corners,
    )
    screen.show_promises(report)
    return DemoResult(report, explained)
