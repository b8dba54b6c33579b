"""The parts of saved banks' `engram_config.json`, each checked: nobody vouches for the file.

What is wrong is added to a list, as predicates, so that all of it can be named at once.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, cast

from engram_transformers.errors import ConfigError, ConfigFieldError
from engram_transformers.strict_json import shown

SHARD_NAME = re.compile(r"engram-[0-9a-f]{16}(-\d{5}-of-\d{5})?\.safetensors")
_DIGEST = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class StoredFile:
    """One file of weights.

    Attributes:
        size: In bytes.
        digest: xxh3, 128 bits, of all of them.
    """

    size: int
    digest: str


def config_of(fields: dict[str, Any], name: str, kind: Any, problems: list[str]) -> Any:
    """Return a configuration, or None and what is wrong with it."""
    given = fields.get(name)
    if not isinstance(given, dict):
        problems.append(f"has {name} {shown(given)}")
        return None
    known = {field.name for field in dataclasses.fields(kind)}
    given = cast("dict[str, Any]", given)
    wrong = sorted(known ^ given.keys())
    if wrong:
        problems.append(f"has not the fields of {kind.__name__} in {name}: {', '.join(wrong)}")
        return None
    try:
        config = kind(**given)
    except (ConfigError, ConfigFieldError, TypeError) as error:
        problems.append(f"has a {name} that can't be: {error}")
        return None
    layers = config.layers
    if layers == "auto" or any(layer < 0 for layer in layers):
        problems.append(f"has layers in {name} that are not resolved: {shown(layers)}")
        return None
    return config


def typed_fields(
    given: Any, kinds: dict[str, type], where: str, problems: list[str]
) -> dict[str, Any]:
    """Return an object's fields, and say which are not of the types they must be."""
    fields = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    for name, kind in kinds.items():
        if type(fields.get(name)) is not kind:
            inside = f" in {where}" if where else ""
            problems.append(f"has {name} {shown(fields.get(name))}{inside}")
    return fields


def files_of(given: Any, problems: list[str]) -> dict[str, StoredFile]:
    """Return what each file must be, or say what is wrong with names or fields."""
    found: dict[str, StoredFile] = {}
    if not isinstance(given, dict) or not given:
        problems.append(f"has files {shown(given)}")
        return found
    for name, fields in cast("dict[str, Any]", given).items():
        if not SHARD_NAME.fullmatch(name):  # "../x", "/etc/x" and the like: never opened
            problems.append(f"names a file {shown(name)}, as no file of banks is called")
            continue
        described = cast("dict[str, Any]", fields) if isinstance(fields, dict) else {}
        size, digest = described.get("bytes"), described.get("xxh3_128")
        if type(size) is not int or size < 0 or not isinstance(digest, str):
            problems.append(f"describes {name} as {shown(fields)}")
        elif not _DIGEST.fullmatch(digest):
            problems.append(f"has {shown(digest)} as the digest of {name}")
        else:
            found[name] = StoredFile(size, digest)
    return found


def weight_map_of(given: Any, files: dict[str, StoredFile], problems: list[str]) -> dict[str, str]:
    """Return which file has which tensor, or say which of them there is not."""
    if not isinstance(given, dict):
        problems.append(f"has weight_map {shown(given)}")
        return {}
    found = cast("dict[str, Any]", given)
    for name, file in found.items():
        if not isinstance(file, str) or file not in files:
            problems.append(f"puts {shown(name)} into {shown(file)}, which is none of its files")
    return found
