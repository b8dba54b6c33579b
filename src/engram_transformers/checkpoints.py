"""What `save_pretrained` of a patched model leaves out, so that it writes the base alone."""

from __future__ import annotations

from typing import Any

from engram_transformers.attachment import SUBMODULE, Attachment
from engram_transformers.bank_reading import BANK
from engram_transformers.banks.attached import TABLE

_IGNORED = "_keys_to_ignore_on_save"


def _parameter_names(attachment: Attachment) -> set[str]:
    """Return the state-dict keys of learned gates and banks, wherever their tables are."""
    names = {
        f"{attachment.blocks_name}.{layer}.{submodule}.{name}"
        for submodule, modules in ((SUBMODULE, attachment.memories), (BANK, attachment.banks))
        for layer, module in modules.items()
        for name in module.state_dict()
    }
    return names | {
        f"{attachment.blocks_name}.{layer}.{BANK}.{TABLE}" for layer in attachment.banks
    }


def keep_out_of_checkpoints(attachment: Attachment) -> None:
    """Let `save_pretrained` of the base write a clean base checkpoint."""
    names = _parameter_names(attachment)
    if names:
        base: Any = attachment.model
        attachment.ignored_on_save = [base.__dict__[_IGNORED]] if _IGNORED in base.__dict__ else []
        base._keys_to_ignore_on_save = set(base._keys_to_ignore_on_save or ()) | names


def let_into_checkpoints(attachment: Attachment) -> None:
    """Undo `keep_out_of_checkpoints`, and keep what others have added since."""
    names = _parameter_names(attachment)
    if not names:
        return
    base: Any = attachment.model
    left = set(base._keys_to_ignore_on_save or ()) - names
    del base.__dict__[_IGNORED]
    for before in attachment.ignored_on_save:  # until transformers 5.9 the class's alone
        base._keys_to_ignore_on_save = before
    if left != set(base._keys_to_ignore_on_save or ()):
        base._keys_to_ignore_on_save = left
