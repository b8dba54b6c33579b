"""The contract, on every class that transformers calls a causal language model.

Minutes, so only on demand: `pytest -m architectures`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import transformers
from architecture_checks import NOT_CHECKED, check
from zoo import species

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
_ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>[\w-]+) \| (?P<status>[^|]+) \|", re.MULTILINE)
_MADE_WITH = re.compile(r"^transformers (\S+)", re.MULTILINE)


def page_rows() -> dict[str, tuple[str, str]]:
    """Return what the page says: class -> model type and status."""
    text = PAGE.read_text(encoding="utf-8")
    made_with = _MADE_WITH.search(text)
    assert made_with is not None
    if made_with[1] != transformers.__version__:
        pytest.skip(f"the page was made with transformers {made_with[1]}")
    return {m["name"]: (m["type"], m["status"]) for m in _ROW.finditer(text)}


@pytest.mark.architectures
@pytest.mark.filterwarnings("default")  # of transformers' own code
@pytest.mark.parametrize("name", species())
def test_every_class_holds_the_contract_or_is_refused_by_name(name):
    result = check(species()[name])
    if result.status == NOT_CHECKED:
        pytest.skip(result.reason)
    assert page_rows()[name][1] == result.status


def test_the_page_lists_every_class_and_no_other():
    listed = {name: model_type for name, (model_type, _) in page_rows().items()}
    assert listed == {name: one.model_type for name, one in species().items()}
