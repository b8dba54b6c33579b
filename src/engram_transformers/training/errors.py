"""Errors of training banks, each of them ours and Python's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engram_transformers.banks.errors import BankError


class BankTrainingError(BankError):
    """Base of every error that has to do with training banks."""


class UntrainableBankError(BankTrainingError, TypeError):
    """A bank is not as it can be trained.

    Attributes:
        name: The parameter or module at fault.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"`{name}` can't be trained as it is: {reason}")
        self.name = name


class UnsupportedTrainingError(BankTrainingError, NotImplementedError):
    """Banks can't be trained in this way.

    Attributes:
        way: What was asked for.
    """

    def __init__(self, way: str, advice: str) -> None:
        super().__init__(f"Banks can't be trained with {way}: {advice}")
        self.way = way


class NonFiniteError(BankTrainingError, FloatingPointError):
    """The loss or the norm of the gradients is NaN or infinite.

    Attributes:
        what: Which of them.
        value: What it was.
        step: The optimiser step that was not taken, counted from 1.
        path: Where the batch was saved; None if it could not be.
    """

    def __init__(
        self, what: str, value: float, step: int, path: Path | None, reason: str = ""
    ) -> None:
        saved = f"is in {path}" if path is not None else f"could not be saved ({reason})"
        super().__init__(
            f"The {what} is {value} at step {step}, so training stopped before it. Nothing was"
            f" changed by this step; its batch {saved}. Look at the batch, lower the learning rate"
            " or clip more (max_grad_norm)."
        )
        self.what = what
        self.value = value
        self.step = step
        self.path = path


class JointStateError(BankTrainingError, ValueError):
    """A saved state belongs to other parameters; nothing was loaded.

    Attributes:
        problems: All that does not fit.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(
            f"The saved optimiser does not fit, and nothing was loaded: {'; '.join(problems)}."
            " Resume with the same banks, adapters and trainable parameters, or start anew."
        )
        self.problems = tuple(problems)
