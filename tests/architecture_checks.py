"""Everything that is checked of one class of models, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import transformers
from architecture_promises import PROMISES
from architecture_runs import first_line, traces_of
from architecture_subject import Subject
from tiny import tiny_tokenizer
from torch import nn
from zoo import Species
from zoo_configs import tiny_config

from engram_transformers import add_engram
from engram_transformers.errors import UnsupportedModelError

WORKS = "works"
NOTED = "works, with a note"
REFUSED = "refused"
NOT_CHECKED = "not checked"
FAILED = "fails"


@dataclass(frozen=True)
class Result:
    """What became of one class.

    Attributes:
        status: One of the constants above.
        reason: Why; empty for `WORKS`.
    """

    status: str
    reason: str = ""


def check(species: Species) -> Result:
    """Check every promise on one class.

    Args:
        species: One class of the mapping.

    Returns:
        What became of it.

    Raises:
        AssertionError: If a promise is broken that the bare model keeps.
    """
    try:
        model = species.build()
    except ImportError:
        if not species.packages:
            raise
        return Result(NOT_CHECKED, f"it needs the packages {' and '.join(species.packages)}")
    except ValueError as error:  # no model of this class can be made
        reason = _refusal(unbuilt(species))
        return Result(REFUSED, f"{reason} transformers can't build it either: {first_line(error)}.")
    try:
        subject = Subject(model)
    except UnsupportedModelError:
        before = traces_of(model)
        reason = _refusal(model)
        assert traces_of(model) == before, "a refused model was changed"
        return Result(REFUSED, reason)
    for promise in PROMISES:
        promise(subject)
    notes = ", ".join(dict.fromkeys(subject.notes))
    if notes:
        return Result(NOTED, f"in transformers itself, these differ: {notes}")
    return Result(WORKS)


def unbuilt(species: Species) -> Any:
    """Return a model of a class that can't be built: its configuration, and nothing else."""
    model_class: Any = getattr(transformers, species.name)
    model = model_class.__new__(model_class)
    nn.Module.__init__(model)
    model.config = tiny_config(model_class.config_class)
    return model


def _refusal(model: Any) -> str:
    with pytest.raises(UnsupportedModelError) as refusal:
        add_engram(model, tiny_tokenizer())
    return str(refusal.value)
