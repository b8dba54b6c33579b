import builtins
import importlib.util
import io
import sys

import pytest
import rich
from explanations import explanation, fired, firing, found, sequence
from rich.console import Console

from engram_transformers import extras
from engram_transformers.errors import MissingExtraError
from engram_transformers.explain_text import explanation_text


def printed(shown, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(shown)
    return console.file.getvalue()


def test_the_tables_say_what_the_text_says():
    one = fired(firings=(firing(3, agreeing=3, shadowed=(found(owner="acme", place=1),)),))
    text, tables = explanation_text([(None, one)]), printed(explanation(one), 200)
    said = [line for line in text.splitlines() if not line.startswith("    ")]
    # All but the next tokens, which have a table of their own.
    for line in said[: said.index("The most likely next tokens, without tables and with")]:
        assert line.strip() in tables


def test_next_tokens_are_compared_line_by_line():
    lines = printed(explanation(fired())).splitlines()
    first = next(line for line in lines if "“ 44”" in line and "90.0 %" in line)
    assert first.split() == "3 “ is” “ a” 50.0 % “ 44” 90.0 % <0.1 % 1,203".split()


def test_the_tables_fit_a_narrow_terminal():
    tables = printed(explanation(fired()), 80)
    assert "…" not in tables
    assert "0.75" in tables


def test_each_sequence_has_its_heading():
    tables = printed(explanation(fired(), sequence("a")))
    assert tables.index("Sequence 0") < tables.index("Rows fire")
    assert tables.index("Sequence 1") < tables.index("No row fires")


def test_texts_are_no_markup():
    odd = fired(owners=("[red]x[/]",), firings=(firing(3, "[bold]"), firing(4, "[/]")))
    assert "[red]x[/]" in printed(odd)
    assert "“[bold]”" in printed(odd)


def test_rich_prints_an_explanation_as_tables(capsys):
    rich.print(explanation(fired()))
    assert "rank was" in capsys.readouterr().out
    assert printed(explanation(fired()).table()) == printed(explanation(fired()))


def test_without_rich_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="The table needs rich: pip install"):
        explanation(fired()).table()
    assert "4471" in str(explanation(fired()))


@pytest.mark.parametrize("name", ["explanation", "explain_table", "explain_figure", "explaining"])
def test_importing_a_module_imports_neither_rich_nor_matplotlib(name, monkeypatch):
    real = builtins.__import__

    def refuse(module, *args, **kwargs):
        assert module.split(".")[0] not in ("rich", "matplotlib")
        return real(module, *args, **kwargs)

    spec = importlib.util.find_spec(f"engram_transformers.{name}")
    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.setitem(sys.modules, spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(sys.modules[spec.name])
