"""Errors of banks on disk and on the Hub, and the warning that goes with them."""

from __future__ import annotations

from collections.abc import Sequence

from engram_transformers.banks.errors import BankError
from engram_transformers.errors import listed


class NoBanksError(BankError, ValueError):
    """A model has no banks that could be trained, saved, loaded or moved.

    Attributes:
        model_name: The model's class, or what was given instead.
    """

    def __init__(self, model_name: str) -> None:
        super().__init__(
            f"{model_name} has no banks: add_engram(model, memory_size=…) puts one on each layer;"
            " give the model itself, not its name. Facts that were written are in tables:"
            " UserTable.save_pretrained."
        )
        self.model_name = model_name


class BankFileError(BankError, OSError):
    """Saved banks are missing, damaged, or of a later format; nothing was loaded.

    Attributes:
        path: The folder.
        problems: Everything that is wrong, one sentence each.
    """

    def __init__(self, path: object, problems: Sequence[str]) -> None:
        super().__init__(f"{path} holds no banks that can be loaded:{listed(problems, 20)}")
        self.path = str(path)
        self.problems = tuple(problems)


class BankSaveError(BankError, OSError):
    """Banks could not be saved; what was on the disk before still is.

    Attributes:
        path: The folder.
        errno: The system's error number, None if the system did not refuse.
    """

    def __init__(self, path: object, reason: str, errno: int | None = None) -> None:
        super().__init__(f"The banks can't be saved to {path}: {reason}. Nothing there is lost.")
        self.path = str(path)
        self.errno = errno


class BankMismatchError(BankError, ValueError):
    """Saved banks belong to another kind of model, or to other settings; nothing has changed.

    Attributes:
        path: The folder.
        differences: What differs, one sentence each.
    """

    def __init__(self, path: object, differences: Sequence[str]) -> None:
        super().__init__(
            f"The banks in {path} do not fit this model:{listed(differences)}\nTake memories with"
            " other settings off first (remove_engram), or use the model and the tokenizer they"
            " were trained for."
        )
        self.path = str(path)
        self.differences = tuple(differences)


class OffloadError(BankError, RuntimeError):
    """Something can't be done with a bank whose rows are in host memory or in files."""


class OtherCheckpointWarning(UserWarning):
    """Banks are loaded onto a model whose weights they were not trained with.

    Attributes:
        trained_with: The name of the model they were trained with.
    """

    def __init__(self, trained_with: str, weights: str, model_name: str, found: str) -> None:
        super().__init__(
            f"These banks were trained with {trained_with}, weights {weights[:12]}; this is"
            f" {model_name} with {found[:12]}. The shapes fit; what the banks add may not."
        )
        self.trained_with = trained_with
