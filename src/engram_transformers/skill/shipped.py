"""Skills that come with the library."""

from __future__ import annotations

from pathlib import Path

SHIPPED = {"HuggingFaceTB/SmolLM2-135M-Instruct": "smollm2-135m-instruct"}
"""Hub id of a model -> the folder of its skill, in `skills/`."""
_PACKAGE = Path(__file__).parent.parent
_PLACES = (_PACKAGE / "skills", _PACKAGE.parent.parent / "skills")
"""In an installed package, and in a copy of the repository."""


def shipped_skill(model_name: str) -> Path | None:
    """Return the folder of the skill that comes with the library for a model, None if none does.

    Args:
        model_name: The model's Hub id.

    Example:
        >>> from engram_transformers import attach_shared_lora, shipped_skill
        >>> def attach(model):
        ...     return attach_shared_lora(model, shipped_skill(model.name_or_path))
        >>> shipped_skill("somebody/some-model") is None
        True
    """
    folder = SHIPPED.get(model_name)
    if folder is None:
        return None
    return next((place / folder for place in _PLACES if (place / folder).is_dir()), None)
