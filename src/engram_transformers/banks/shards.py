"""The files that hold the weights of banks: written under temporary names, checked before use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import xxhash
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engram_transformers.banks.described import SHARD_NAME, StoredFile
from engram_transformers.banks.description import BanksDescription
from engram_transformers.banks.weights import Piece
from engram_transformers.errors import ConfigError, TableFileError
from engram_transformers.safetensors_header import read_header
from engram_transformers.staging import remove_abandoned, temporary

FLOATS = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""What weights may be, in safetensors' words."""
_NUMBER = "I64"
_BLOCK_BYTES = 1 << 22

MaxShardSize = int | str


def plan_shards(pieces: Sequence[Piece], max_shard_size: MaxShardSize) -> list[list[Piece]]:
    """Share pieces out over files.

    Args:
        pieces: In the order in which they are written.
        max_shard_size: Bytes, or as in "5GB". A piece that is larger gets a file of its own.

    Returns:
        The pieces of each file.

    Raises:
        ConfigError: If the size is none.
    """
    wrong = ConfigError("max_shard_size", max_shard_size, 'a number of bytes, or such as "5GB"')
    is_count = type(max_shard_size) is int and max_shard_size > 0
    if not is_count and not isinstance(max_shard_size, str):
        raise wrong
    # Without numbers: the heads of one table share its memory, and would be kept together.
    shapes = {
        piece.name: torch.empty(piece.shape, dtype=piece.dtype, device="meta") for piece in pieces
    }
    try:
        split = split_torch_state_dict_into_shards(
            shapes, filename_pattern="engram{suffix}", max_shard_size=max_shard_size
        )
    except (ValueError, TypeError, AttributeError):  # each release of the helper has its own
        raise wrong from None
    by_name = {piece.name: piece for piece in pieces}
    return [[by_name[name] for name in names] for names in split.filename_to_tensors.values()]


@contextmanager
def written_shards(
    folder: Path, shards: Sequence[Sequence[Piece]], read: Callable[[Piece], Tensor]
) -> Generator[tuple[dict[str, StoredFile], dict[str, str]]]:
    """Write weights beside those that are there, and take them back if the block fails.

    Names hold a digest of all weights, so no file that counts is ever written over: old and new
    ones are both whole until the block, which makes the new ones count, has ended. The others are
    removed then.

    Args:
        folder: Exists.
        shards: The pieces of each file.
        read: Returns a piece's numbers. A file's pieces are in memory together.

    Yields:
        What each file must be, and which of them holds each tensor.

    Raises:
        OSError: If a file can't be written.
    """
    staged = [temporary(folder, "engram") for _ in shards]
    made: list[Path] = []
    try:
        stored: list[StoredFile] = []
        for path, pieces in zip(staged, shards, strict=True):
            path.touch()
            mode = path.stat().st_mode
            save_file({piece.name: read(piece) for piece in pieces}, path, {"format": "pt"})
            path.chmod(mode)  # safetensors 0.8 lets nobody else read it
            _flush(path)
            stored.append(StoredFile(path.stat().st_size, file_digest(path)))
        digest = xxhash.xxh3_64_hexdigest("".join(file.digest for file in stored).encode())
        names = _names(digest, len(shards))
        for path, name in zip(staged, names, strict=True):
            if not (folder / name).exists():
                made.append(folder / name)
            os.replace(path, folder / name)
        yield (
            dict(zip(names, stored, strict=True)),
            {p.name: name for name, pieces in zip(names, shards, strict=True) for p in pieces},
        )
    except BaseException:
        _remove(made)
        raise
    finally:
        _remove(staged)
    _remove([path for path in folder.iterdir() if _is_shard(path) and path.name not in names])
    remove_abandoned(folder, ["engram"])


def check_shards(
    folder: Path, description: BanksDescription, pieces: Sequence[Piece], *, digests: bool = True
) -> tuple[dict[str, torch.dtype], list[str]]:
    """Check the files of weights, all of them.

    Args:
        folder: Where they are.
        description: What they must be.
        pieces: What the model needs.
        digests: Whether to read every byte.

    Returns:
        What each tensor is stored as; and what is wrong, one sentence each.
    """
    problems: list[str] = []
    found: dict[str, str] = {}  # tensor -> dtype
    expected = {piece.name: piece for piece in pieces}
    for name, stored in description.files.items():
        try:
            specs = _specs(folder / name, stored, digests)
        except TableFileError as error:
            problems += [f"{name} {problem}" for problem in error.problems]
            continue
        for tensor, (dtype, shape) in specs.items():
            found[tensor] = dtype
            wrong = _misfit(expected.get(tensor), dtype, shape)
            if not wrong and description.weight_map.get(tensor) != name:
                wrong = f"which weight_map puts into {description.weight_map.get(tensor)}"
            if wrong:
                problems.append(f"{name} has the tensor {tensor}, {wrong}")
    wanted = expected.keys() | description.weight_map.keys()
    if len(found) < len(wanted) and not problems:
        problems += [f"no file has the tensor {name}" for name in sorted(wanted - found.keys())]
    problems = problems or _wrong_numbers(folder, description, pieces, found)
    return {name: FLOATS.get(dtype, torch.int64) for name, dtype in found.items()}, problems


def open_shards(
    folder: Path, description: BanksDescription, left_out: Container[str] = ()
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of checked files one by one, without having two in memory.

    Args:
        folder: Where the files are.
        description: What they hold.
        left_out: Tensors that nobody wants.
    """
    for name in description.files:
        with safe_open(folder / name, framework="pt") as file:
            for tensor in file.keys():  # noqa: SIM118 (it is no dictionary)
                if tensor not in left_out:
                    yield tensor, file.get_tensor(tensor)


def file_digest(path: Path) -> str:
    """Return the xxh3 hash, 128 bits, of a file."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _specs(path: Path, stored: StoredFile, digests: bool) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype and shape of a file's tensors; raises TableFileError if anything is wrong."""
    try:
        if not path.is_file():
            raise TableFileError(path, ["is missing"])
        size = path.stat().st_size
        with path.open("rb") as file:
            read_header(file, size, path)
        if size != stored.size:
            raise TableFileError(path, [f"has {size} bytes instead of {stored.size}"])
        if digests and file_digest(path) != stored.digest:
            problem = "does not have its digest: it was changed or damaged after being saved"
            raise TableFileError(path, [problem])
        with safe_open(path, framework="pt") as opened:
            slices: dict[str, Any] = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {
                name: (str(view.get_dtype()), tuple(view.get_shape()))
                for name, view in slices.items()
            }
    except TableFileError:
        raise
    except SafetensorError as error:
        raise TableFileError(path, [f"is refused by safetensors: {error}"]) from None
    except OSError as error:
        raise TableFileError(path, [f"can't be read: {error}"]) from None


def _misfit(piece: Piece | None, dtype: str, shape: tuple[int, ...]) -> str:
    """Return why a tensor is not a piece, empty if it is."""
    if piece is None:
        return "which this model has no place for"
    if shape != piece.shape:
        return f"of shape {list(shape)} instead of {list(piece.shape)}"
    allowed = (_NUMBER,) if piece.is_number else tuple(FLOATS)
    return "" if dtype in allowed else f"as {dtype} instead of {' or '.join(allowed)}"


def _wrong_numbers(
    folder: Path, description: BanksDescription, pieces: Sequence[Piece], dtypes: dict[str, str]
) -> list[str]:
    """Return what is wrong with tensors of the right shapes."""
    problems: list[str] = []
    first_head: dict[int, Piece] = {}
    for piece in pieces:
        head = first_head.setdefault(id(piece.module), piece) if piece.first is not None else piece
        if dtypes[head.name] != dtypes[piece.name]:
            problems.append(
                f"{piece.name} is {dtypes[piece.name]}, but {head.name} {dtypes[head.name]}"
            )
        # The multipliers are the files' own: numpy does not promise the same ones for ever.
        if piece.is_number and not piece.name.endswith(".multipliers"):
            with safe_open(folder / description.weight_map[piece.name], framework="pt") as file:
                if not torch.equal(file.get_tensor(piece.name), piece.source.cpu()):
                    problems.append(f"{piece.name} has other numbers than follow from the settings")
    return problems


def _names(digest: str, count: int) -> list[str]:
    if count == 1:
        return [f"engram-{digest}.safetensors"]
    return [f"engram-{digest}-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)]


def _is_shard(path: Path) -> bool:
    return SHARD_NAME.fullmatch(path.name) is not None


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
