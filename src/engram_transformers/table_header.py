"""The JSON of `table.safetensors`: what a table says about itself, checked before it is believed.

Every check returns what is wrong as predicates ("has no tensor `rows`"), so that a caller can list
all of them behind the file's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast, get_args

from engram_transformers.binding import Binding
from engram_transformers.config import EngramConfig
from engram_transformers.errors import EngramError
from engram_transformers.ledger import Entry
from engram_transformers.storage import RowDtype
from engram_transformers.strict_json import is_same_json, parse_json, shown

FORMAT_VERSION = 2
BUCKET_VERSION = 3
"""Of tables of buckets: what a release before them must not take for exact addresses."""
KNOWN_VERSIONS = (1, 2, 3)
METADATA_KEY = "engram"
DIGEST_FIELD = "xxh3_128"


@dataclass(frozen=True)
class Description:
    """What a table's file says about the table.

    Attributes:
        owner: Whose facts these are.
        layer: The memory that reads it.
        dtype: How rows are stored.
        orders: The distinct orders of the addresses, ascending.
        version: The table's, raised by every write and erase.
        binding: What it was written for.
        entries: The ledger, None if it was left out.
    """

    owner: str
    layer: int
    dtype: RowDtype
    orders: tuple[int, ...]
    version: int
    binding: Binding
    entries: tuple[Entry, ...] | None

    @property
    def format_version(self) -> int:
        """The oldest format that can express the table."""
        return FORMAT_VERSION if self.binding.buckets is None else BUCKET_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types, without format version, library version and digest."""
        return {
            "owner": self.owner,
            "layer": self.layer,
            "dtype": self.dtype,
            "orders": list(self.orders),
            "version": self.version,
            "binding": self.binding.to_dict(),
            "ledger": None if self.entries is None else [e.to_dict() for e in self.entries],
        }


def check_description(header: dict[str, Any]) -> tuple[Description | None, str | None, list[str]]:
    """Check what a header says about the table.

    Args:
        header: Parsed.

    Returns:
        The description, None if it can't be built; the digest, None if there is none; and what is
        wrong.
    """
    try:
        fields = _metadata_fields(header)
    except ValueError as error:
        return None, None, [str(error)]
    version = fields.get("format_version")
    if type(version) is not int or version not in KNOWN_VERSIONS:
        known = ", ".join(map(str, KNOWN_VERSIONS))
        advice = f"this release knows {known}: upgrade engram-transformers"
        return None, None, [f"has format version {shown(version)}; {advice}"]
    expected = {*_FIELDS, "format_version", "binding", "ledger"}
    problems = [f"has no field `{name}`" for name in sorted(expected - fields.keys())]
    problems += [
        f"has a field {shown(name)}, which format version {version} does not have"
        for name in sorted(fields.keys() - expected)
    ]
    problems += [
        f"has {name} {shown(fields[name])}, which is not {wanted}"
        for name, (is_right, wanted) in _FIELDS.items()
        if name in fields and not is_right(fields[name])
    ]
    binding, binding_problems = _as_binding(fields.get("binding"), "binding" in fields)
    entries, ledger_problems = _as_entries(fields.get("ledger"))
    problems += binding_problems + ledger_problems
    digest = fields.get(DIGEST_FIELD)
    digest = digest if _is_digest(digest) else None
    if problems or binding is None:
        return None, digest, problems
    description = Description(
        fields["owner"],
        fields["layer"],
        fields["dtype"],
        tuple(fields["orders"]),
        fields["version"],
        binding,
        entries,
    )
    if (version == BUCKET_VERSION) != (binding.buckets is not None):
        problems.append(f"has format version {version}, but its binding is not of that format")
        return None, digest, problems
    return description, digest, _contradictions(description)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value) is not None


def _are_orders(value: Any) -> bool:
    if not isinstance(value, list) or any(type(order) is not int for order in value):
        return False
    return cast("list[int]", value) == sorted({order for order in value if order > 0})


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "owner": (lambda value: isinstance(value, str) and bool(value.strip()), "a name"),
    "layer": (_is_count, "the number of a decoder block"),
    "dtype": (lambda value: value in get_args(RowDtype), f"one of {', '.join(get_args(RowDtype))}"),
    "orders": (_are_orders, "a list of distinct orders, ascending from 1"),
    "version": (_is_count, "a count"),
    "created_by": (lambda value: isinstance(value, str), "a version"),
    DIGEST_FIELD: (_is_digest, "32 hexadecimal digits"),
}


def _metadata_fields(header: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the engram metadata; raise ValueError with a predicate otherwise."""
    metadata = header.get("__metadata__")
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ValueError("has no engram metadata: it is not a table")
    if len(cast("dict[str, Any]", metadata)) > 1:
        others = sorted(set(cast("dict[str, Any]", metadata)) - {METADATA_KEY})
        raise ValueError(f"has metadata that no table has: {shown(others)}")
    try:
        fields = parse_json(text.encode("utf-8"))
    except ValueError as error:
        raise ValueError(f"has engram metadata that {error}") from None
    if not isinstance(fields, dict):
        raise ValueError("has engram metadata that is not a JSON object")
    return cast("dict[str, Any]", fields)


def _as_binding(fields: Any, given: bool) -> tuple[Binding | None, list[str]]:
    if not given:
        return None, []
    try:
        binding = Binding.from_dict(fields)
        if not is_same_json(binding.to_dict(), fields):
            raise ValueError("fields of the wrong type, or unknown ones")
        config = EngramConfig.from_fields(None, dict(binding.config))
        if not is_same_json(config.row_fields(), dict(binding.config)):
            raise ValueError(f"its config must have the fields {sorted(config.row_fields())}")
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, EngramError) as error:
        return None, [f"has a malformed binding ({_reason(error)})"]
    return binding, []


def _as_entries(ledger: Any) -> tuple[tuple[Entry, ...] | None, list[str]]:
    if ledger is None:
        return None, []
    if not isinstance(ledger, list):
        return None, ["has a ledger that is not a list"]
    entries: list[Entry] = []
    problems: list[str] = []
    for number, fields in enumerate(cast("list[Any]", ledger)):
        try:
            entry = Entry.from_dict(fields)
            if not is_same_json(entry.to_dict(), fields):
                raise ValueError("fields of the wrong type, or unknown ones")
            if not all(isinstance(v, str) for old in entry.history for v in vars(old).values()):
                raise ValueError("its history is not text")
            entries.append(entry)
        except (TypeError, AttributeError, ValueError, OverflowError) as error:
            problems.append(f"has a malformed ledger entry {number} ({_reason(error)})")
    return tuple(entries), problems


def _contradictions(description: Description) -> list[str]:
    """Return where fields that are right one by one do not fit together."""
    problems: list[str] = []
    buckets = description.binding.buckets
    longest = dict(description.binding.config)["max_order"]
    longest = longest if buckets is None else buckets.max_order
    if any(order > longest for order in description.orders):
        problems.append(f"has an order above its max_order, {longest}")
    if description.entries is None:
        return problems
    used: set[int] = set()
    for number, entry in enumerate(description.entries):
        prompts = len(entry.fact.prompts)
        if not prompts <= len(entry.orders) <= 2 * prompts:  # see `sequences.wordings`
            problems.append(
                f"has a ledger entry {number} with {prompts} prompt(s) and orders for"
                f" {len(entry.orders)}"
            )
        if entry.min_order < 1:
            problems.append(f"has a ledger entry {number} with min_order {entry.min_order}")
        used |= {order for line in entry.orders for order in line if order != 0}
    if used != set(description.orders):
        problems.append(
            f"has orders {sorted(description.orders)}, but its ledger uses {sorted(used)}"
        )
    return problems


def _reason(error: Exception) -> str:
    text = f"no {error}" if isinstance(error, KeyError) else str(error)
    return text if len(text) <= 160 else text[:157] + "..."
