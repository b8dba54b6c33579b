"""`engram-transformers demo`: its options, its files, its exit code."""

from __future__ import annotations

import argparse

import torch
from transformers.utils import logging as transformers_logging

from engram_transformers.demo import DemoOptions, run_demo
from engram_transformers.demo_facts import USERS
from engram_transformers.demo_screen import Screen
from engram_transformers.explain_figure import explanation_figure, save_figure
from engram_transformers.output_option import require_picture, require_writable
from engram_transformers.staging import write_files


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Run the demo and write what it is asked to write.

    Args:
        arguments: model, json, plot, facts, layers, device.
        parser: Told of wrong usage, before anything is computed.

    Returns:
        0 if everything that is promised held, 1 otherwise.
    """
    _check(arguments, parser)
    transformers_logging.disable_progress_bar()
    screen = Screen()
    options = DemoOptions(
        arguments.model,
        arguments.facts,
        None if arguments.layers is None else tuple(arguments.layers),
        arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"),
    )
    result = run_demo(options, screen)
    if arguments.plot is not None:
        title = f"Where rows of a table are read in {result.report.model}"
        save_figure(explanation_figure(result.explained, title=title), arguments.plot)
        screen.show_saved("Picture", str(arguments.plot))
    if arguments.json is not None:
        data = (result.report.to_json() + "\n").encode()
        write_files(arguments.json.parent, {arguments.json.name: data})
        screen.show_saved("Figures", str(arguments.json))
    return 0 if all(promise.held for promise in result.report.promises) else 1


def _check(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse what would fail at the end, before the work is done."""
    most = min(len(facts) for facts in USERS.values())
    if not 1 <= arguments.facts <= most:
        parser.error(f"argument --facts: {arguments.facts} is not in 1 to {most}")
    if arguments.json is not None:
        require_writable(parser, "--json", arguments.json)
    if arguments.plot is not None:
        require_picture(parser, "--plot", arguments.plot)
