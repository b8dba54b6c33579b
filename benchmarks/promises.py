"""What must hold: checked where it is measured, kept in the results, shown whether it held or not.

`require` of `common` stops a benchmark at once, before a speed is reported for something that does
not work. A promise is a figure: a run that misses it is kept and shown, and then fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

from benchmarks.markdown import counted, where
from benchmarks.setting import Setting

MAIN_MODEL = "SmolLM2-135M-Instruct"


class Promise(TypedDict):
    """A promise and what was found.

    Attributes:
        promise: What should hold.
        found: What was seen.
        held: Whether it does.
    """

    promise: str
    found: str
    held: bool


def promise(text: str, held: bool, found: str = "") -> Promise:
    """Return a promise, and print it."""
    print(f"{'held' if held else 'NOT HELD'}: {text}{f': {found}' if found else ''}")
    return {"promise": text, "found": found, "held": bool(held)}


def at_least(what: str, share: float, right: int, asked: int) -> Promise:
    """Return the promise that at least such a share is right."""
    found = counted(right, asked)
    return promise(f"{what}: at least {share:.1%}", asked > 0 and right >= share * asked, found)


def are_checked(setting: Setting) -> bool:
    """Say whether a run is one that promises are made for: the main model as it comes, in full."""
    is_main = setting.label.endswith(MAIN_MODEL)
    return is_main and not setting.quick and not setting.config_fields


def broken(results: dict[str, Any]) -> list[Promise]:
    """Return the promises that a run did not keep."""
    return [one for one in results.get("promises", []) if not one["held"]]


def lines(runs: Iterable[dict[str, Any]]) -> list[str]:
    """Return what was promised and found, for a page."""
    shown = [
        f"- {'Held' if one['held'] else '**Not held**'} ({where(run)}): {one['promise']}"
        f"{': ' + one['found'] if one['found'] else ''}."
        for run in runs
        for one in run.get("promises", [])
    ]
    return [*shown, ""] if shown else []
