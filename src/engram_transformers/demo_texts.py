"""Texts that the demo reads: what stands before a fact, and what has nothing to do with any."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator

CONVERSATION = (
    ("user", "Can you help me plan a quiet weekend? I have two free days and no car."),
    (
        "assistant",
        "Of course. On the first day you could take an early train to the lake, walk around it,"
        " and have soup at the boathouse. On the second day, sleep in and visit the museum.",
    ),
    ("user", "That sounds good. Before we go on, please write down what you know about me."),
)
"""Messages before the turn in which the assistant states a fact."""

SMALL_TALK = (
    ("user", "Good morning! Is it a good idea to water plants at noon?"),
    ("assistant", "Better in the evening: at noon much of the water evaporates."),
)
"""An exchange before the question that asks for a fact."""

LONG_TEXT = """\
The harbour was still dark when the first boats came in. Two women in yellow coats stood on the \
quay and counted crates, and a boy with a torch wrote the numbers on a board. Nobody spoke much. \
The ice machine hummed behind the shed, a gull walked along the wall, and from the bakery across \
the square came the smell of bread. At six the lamps went out, all at once, as they had done every \
morning since the war.

By eight the market was full. The cheese seller had brought a new goat, which ate the string of \
somebody's parcel, and the two of them argued about the price of string until everyone around them \
laughed. A tourist asked for the way to the lighthouse; three people pointed in three directions, \
and all three were right, because the road goes around the island and ends where it begins.

In the afternoon it rained. The schoolteacher closed her windows, lit the stove, and went on with \
the letter that she had been writing for a week. She described the new bridge, the committee's \
report on it, and the colour of the water below, which was never the same on two days. Then she \
put down the pen, looked at the clock, and began a new page with what she had meant to say all \
along. """
"""A story of ours, some 270 tokens of SmolLM2's."""

NEAR_SENTENCES = (
    "The dog's name is engraved on the collar.",
    "Her favourite spice is whatever the market has in stock.",
    "Most people I know are allergic to something.",
    "The coffee order is late again, so the kitchen serves tea.",
    "The house number is missing from the form that you sent.",
    "My sister and my brother live in different countries.",
    "Every locker has a code, and every code has four digits.",
    "He was born in the year of the great flood.",
    "A landlord is called to court when the roof is not repaired.",
    "The restaurant's tax number is printed at the bottom of the bill.",
)
"""Sentences of ours that share words with the facts of `demo_facts`; some contain a trigger."""

# fmt: off
_MODULES = (
    "argparse", "calendar", "codecs", "collections.abc", "configparser", "contextlib", "copy",
    "csv", "datetime", "decimal", "difflib", "email.message", "enum", "fractions", "functools",
    "glob", "gzip", "heapq", "http.client", "inspect", "ipaddress", "json", "locale", "logging",
    "mailbox", "numbers", "os", "pathlib", "pickle", "platform", "queue", "random", "sched",
    "shutil", "socket", "socketserver", "statistics", "string", "subprocess", "tarfile",
    "tempfile", "textwrap", "threading", "timeit", "tokenize", "trace", "traceback", "types",
    "typing", "unittest.case", "urllib.parse", "uuid", "warnings", "wave", "weakref", "zipfile",
)
# fmt: on
_WORDS = range(6, 31)
_SENTENCE = re.compile(r"[A-Z][a-z]*,? [A-Za-z ,;:'()-]+\.")


def standard_library_sentences(count: int) -> list[str]:
    """Take sentences of prose from the docstrings of Python's standard library.

    Args:
        count: How many.

    Returns:
        Distinct sentences, spread evenly over the modules: `count` of them, or all there are. They
        depend on the version of Python.
    """
    found = list(dict.fromkeys(s for name in _MODULES for s in _sentences_of(name)))
    if len(found) <= count:
        return found
    return [found[number * len(found) // count] for number in range(count)]


def _sentences_of(module: str) -> Iterator[str]:
    source = _source(module)
    if source is None:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
                for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", " ".join(paragraph.split())):
                    if _SENTENCE.fullmatch(sentence) and len(sentence.split()) in _WORDS:
                        yield sentence


def _source(module: str) -> str | None:
    """Return a module's source without importing it, None where there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        return None
    get_source = getattr(spec.loader, "get_source", None) if spec is not None else None
    return None if get_source is None else get_source(module)
