"""What stands for what in the picture of an explanation: colours, labels, the scale of bars."""

from __future__ import annotations

from collections.abc import Sequence

from engram_transformers.explain_text import fact_label, percent, shown
from engram_transformers.explanation import Change, Firing

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a5195", "#8b5a2b")
"""After Okabe and Ito's palette, which colour-blind people can tell apart."""
_UNKNOWN = "#777777"
_MOST_NAMED = 12
_LONGEST_TOKEN = 14
_LONGEST_LABEL = 90


class Style:
    """Colours of facts, the scale of bars, and the characters that the font has."""

    def __init__(self, firings: Sequence[Firing]) -> None:
        from matplotlib import rcParams
        from matplotlib.font_manager import FontProperties, findfont, get_font

        self.colours: dict[object, str] = {}
        self.labels: dict[object, str] = {}
        for firing in firings:
            key = fact_key(firing)
            if key not in self.colours:
                colour = _COLOURS[len(self.colours) % len(_COLOURS)]
                self.colours[key] = _UNKNOWN if firing.fact is None else colour
                self.labels[key] = cut(
                    f"{shown(firing.owner)}: {fact_label(firing)}", _LONGEST_LABEL
                )
        self.named = list(self.colours)[:_MOST_NAMED]
        self.highest = max((firing.relative for firing in firings), default=0.0) or 1.0
        self.some_partly = any(firing.is_whole is False for firing in firings)
        self.gates_vary = any(f"{firing.gate:.2f}" != "1.00" for firing in firings)
        families: list[str] = list(rcParams["font.family"])
        fonts = [get_font(findfont(FontProperties(family=[family]))) for family in families]
        self._characters = {code for font in fonts for code in font.get_charmap()}

    @property
    def key(self) -> str:
        """How the picture is to be read."""
        if not self.colours:
            return "No row fires."
        more = len(self.colours) - len(self.named)
        parts = [
            f"And {more} more facts." if more else "",
            f"Bar: what the row adds, relative to the hidden state (highest: {self.highest:.2f}).",
            "Hatched: only the end of the wording stands in the text." if self.some_partly else "",
            "Number: the order of its address, + where it shadows other rows.",
            "Below it: the gate." if self.gates_vary else "Every gate is 1.",
            "Arrow: the most likely next token, where the tables change it.",
        ]
        return " ".join(part for part in parts if part)

    def text(self, text: str) -> str:
        """Replace what the font can't show: matplotlib would warn of each."""
        return "".join(c if ord(c) in self._characters else "▯" for c in text)

    def colour(self, firing: Firing) -> str:
        """Return the colour of a firing's fact."""
        return self.colours[fact_key(firing)]


def fact_key(firing: Firing) -> object:
    """Return what has a colour of its own."""
    return firing.owner, firing.fact


def said(change: Change) -> str:
    """Return what is now the most likely to come next."""
    token = change.after[0]
    return f"→ {short(token.token)}  {percent(token.probability_after)}"


def short(token: str) -> str:
    """Return a token as a label."""
    return cut(shown(token, fold=False).strip() or "␣", _LONGEST_TOKEN)


def cut(text: str, longest: int) -> str:
    """Return a text, its end left out if it is too long."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
