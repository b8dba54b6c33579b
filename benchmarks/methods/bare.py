"""No memory: what a model knows and guesses by itself."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.methods import KnownFact
from benchmarks.methods.asked import Asked
from benchmarks.methods.forms import SENTENCE, Form
from benchmarks.setting import Setting


class Bare(Asked):
    """The model as it is."""

    def __init__(self, setting: Setting, name: str = "none", form: Form = SENTENCE) -> None:
        super().__init__(setting, name, form)

    def write(self, facts: Sequence[KnownFact]) -> None:
        """Forget them."""

    @property
    def nbytes(self) -> int:
        return 0
