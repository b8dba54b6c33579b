"""Short texts: those that facts are written in, and those that a model is looked at in."""

from __future__ import annotations

WRITING_CONTEXTS = (
    "The meeting on Tuesday was about the budget, and nobody had read the report. By the way: ",
    "def load(path):\n    return json.load(open(path))\n\n# ",
    "- buy milk and eggs\n- call the bank before noon\n- ",
    "Question: What do you know? Answer: ",
)
"""Prose, code, a list, and a question: texts of ours, none of which a benchmark asks in."""

CALIBRATION_CONTEXTS = (
    "The",
    "My name is",
    "1. In the year",
    "user: hello\nassistant: She lives in",
)
"""Where token rows are found: the average over these is what a row does anywhere."""
