"""The shared LoRA: one PEFT adapter for all users, which carries the skill of using facts."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from engram_transformers.architectures import unwrap
from engram_transformers.errors import SharedLoraError
from engram_transformers.fingerprint import adapter_fingerprint

if TYPE_CHECKING:
    from engram_transformers.table import UserTable

ModelT = TypeVar("ModelT", bound=nn.Module)

ADAPTER_NAME = "engram_shared"
ENGRAM_MODULES = r".*\.engram(_bank)?\..*"
"""Give this to PEFT as `exclude_modules` when `target_modules` is "all-linear"."""


@dataclass(frozen=True)
class SharedLora:
    """An adapter that rows were written with.

    Attributes:
        reference: The repository or the folder's name it was loaded from, "" if PEFT was used
            directly.
        fingerprint: Of its weights.
    """

    reference: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.reference or 'an adapter'} ({self.fingerprint[:12]})"


def attach_shared_lora(model: ModelT, adapter: str | Path) -> ModelT:
    """Load a PEFT adapter onto a model, in place, before or after `add_engram`.

    Memories have no modules that LoRA could adapt, so they stay as they are. An adapter that names
    another repository as its base than the model came from is attached with a warning: it fits the
    shapes, and whether it fits the weights can't be seen.

    Args:
        model: A transformers model or a PEFT wrapper.
        adapter: A PEFT adapter's folder or Hub repository.

    Returns:
        The same model object, with the adapter active.

    Raises:
        SharedLoraError: If PEFT is missing, the adapter can't be loaded, or another one is active.
    """
    from engram_transformers.attachment import find_attachment

    try:
        import peft  # noqa: F401 # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise SharedLoraError(
            'A shared LoRA needs PEFT: pip install "engram-transformers[peft]".'
        ) from error
    base: Any = unwrap(model)
    before = adapter_fingerprint(base)
    if before is not None:
        raise SharedLoraError(
            f"An adapter is active already ({before[:12]}): detach it first"
            " (detach_shared_lora, or PEFT's own way if it came from there)."
        )
    _require_adapter(str(adapter))
    try:
        base.load_adapter(str(adapter), adapter_name=ADAPTER_NAME)
    except Exception as error:  # whatever PEFT or the Hub client raises
        _drop(base)
        raise SharedLoraError(
            f"{adapter} can't be attached to {type(base).__name__}: {error}"
        ) from error
    fingerprint = adapter_fingerprint(base)
    if fingerprint is None:
        _drop(base)
        raise SharedLoraError(f"{adapter} has no weights that fit {type(base).__name__}.")
    _warn_of_another_base(base, adapter)
    attachment = find_attachment(model)
    shared = SharedLora(public_name(adapter), fingerprint)
    if attachment is not None:
        attachment.shared_lora = shared
    base.__dict__["_engram_shared_lora"] = shared
    return model


def detach_shared_lora(model: ModelT) -> ModelT:
    """Take the shared LoRA off again.

    Args:
        model: What `attach_shared_lora` was called with.

    Returns:
        The same model object.

    Raises:
        SharedLoraError: If none is attached.
    """
    from engram_transformers.attachment import find_attachment

    base: Any = unwrap(model)
    if "_engram_shared_lora" not in base.__dict__:
        raise SharedLoraError("No shared LoRA is attached.")
    _drop(base)
    attachment = find_attachment(model)
    if attachment is not None:
        attachment.shared_lora = None
    return model


def public_name(source: object) -> str:
    """Return a name that can be published: of a folder its last part, of a repository its id."""
    name = str(source)
    path = Path(name)
    return path.resolve().name if name and (path.is_absolute() or path.exists()) else name


def require_rewritten(table: UserTable, adapter: str | Path) -> None:
    """Raise unless a table may be recorded as written with an adapter: it has no rows yet."""
    if table.has_rows:
        raise SharedLoraError(
            f"The table of {table.owner!r} has facts that were written without {adapter}: rows are"
            " found with the adapter in place. Attach it to an empty table and write them again."
        )


def _require_adapter(adapter: str) -> None:
    from peft import PeftConfig

    try:
        config: Any = PeftConfig.from_pretrained(adapter)
    except Exception as error:  # whatever PEFT or the Hub client raises
        raise SharedLoraError(f"{adapter} is not a PEFT adapter: {error}") from error
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if kind != "LORA":
        raise SharedLoraError(f"{adapter} is a {kind} adapter, not a LoRA.")


def _warn_of_another_base(base: Any, adapter: str | Path) -> None:
    """Warn if model and adapter come from two repositories; a folder may hold either."""
    trained = base.peft_config[ADAPTER_NAME].base_model_name_or_path or ""
    loaded = str(getattr(base, "name_or_path", "") or "")
    if trained != loaded and _is_repository(trained) and _is_repository(loaded):
        warnings.warn(
            f"{adapter} was trained for {trained}, and the model is {loaded}.", stacklevel=3
        )


def _is_repository(name: str) -> bool:
    return len(name.split("/")) == 2 and all(name.split("/")) and not Path(name).exists()


def _drop(base: Any) -> None:
    base.__dict__.pop("_engram_shared_lora", None)
    if ADAPTER_NAME in getattr(base, "peft_config", {}):
        base.delete_adapter(ADAPTER_NAME)
