"""`UserTable`: one owner's facts as rows of a model's memory."""

from __future__ import annotations

import dataclasses
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import nn

from engram_transformers.attachment import Attachment, find_attachment, require_attachment
from engram_transformers.binding import Binding
from engram_transformers.buckets.hashed_rows import require_hashed_rows
from engram_transformers.buckets.layout import BucketLayout
from engram_transformers.errors import (
    ConfigError,
    FactError,
    FactNotFoundError,
    LayerIndexError,
    LedgerMissingError,
    ModelGoneError,
)
from engram_transformers.facts import Fact, FactLike, Prompt, as_facts, as_prompt
from engram_transformers.index import Rows
from engram_transformers.ledger import Entry
from engram_transformers.located import locate
from engram_transformers.report import EraseReceipt, WriteReport
from engram_transformers.sequences import AUTO_STOP
from engram_transformers.storage import (
    RowDtype,
    encode_row_index,
    encode_rows,
    require_row_dtype,
)

if TYPE_CHECKING:
    from engram_transformers.lora import SharedLora
    from engram_transformers.writer import Written

Addressing = Literal["exact", "bucket"]


class UserTable:
    """The facts of one owner (a user, an organisation, a project), written into a model.

    A table is a few kilobytes of rows, each at the hash of the tokens that lead up to it. It is
    bound to model, tokenizer and configuration by fingerprint: any model with the same can read it.
    Reading happens in `use_tables`. Writing and erasing replace the table's state in one step, so
    other threads see it as it was or as it is, never in between.

    Args:
        model: A patched model; kept as a weak reference, for `write`.
        owner: Whose facts these are.
        layer: Which memory reads the table, negative from the end of the blocks; None means the
            deepest.
        dtype: How rows are stored, in memory and on disk: "int4" or "int8" (with a float16 scale
            per row), "float16", "bfloat16" or "float32".
        addressing: "exact" gives each fact an address of its own, which nothing else has. "bucket"
            replaces, for this owner, the trained rows that a bank (or an n-gram memory that the
            model's class brings) reads there: as in "User as Engram" (arXiv 2606.19172). Other
            texts that read one of these rows change, too. `layer` is then one of a bank.

    Raises:
        NotPatchedError: If the model has no memories.
        LayerIndexError: If the layer has no memory.
        NoBucketsError: If there are no trained rows to replace.
        ConfigError: If owner, dtype or addressing is not allowed.

    Example:
        >>> from engram_transformers import UserTable, use_tables
        >>> def remember(model, inputs):
        ...     table = UserTable(model, owner="user-42")
        ...     table.write([("My cousin Parker lives in", "Tucson")])
        ...     with use_tables(model, table):
        ...         return model.generate(**inputs)
    """

    def __init__(
        self,
        model: nn.Module,
        owner: str,
        *,
        layer: int | None = None,
        dtype: RowDtype = "int4",
        addressing: Addressing = "exact",
    ) -> None:
        attachment = require_attachment(model)
        if not isinstance(owner, str) or not owner.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError("owner", owner, "a name")
        require_row_dtype(dtype)
        if addressing not in get_args(Addressing):
            raise ConfigError("addressing", addressing, 'one of "exact", "bucket"')
        self._owner = owner
        self._dtype: RowDtype = dtype
        self._binding = Binding.of(attachment)
        if addressing == "bucket":
            memory = require_hashed_rows(attachment, layer)
            self._layer = memory.layer
            self._binding = dataclasses.replace(self._binding, buckets=memory.layout)
        else:
            self._layer = _resolve_layer(attachment, layer)
        self._state: tuple[Rows, tuple[Entry, ...] | None] = (_no_rows(self._binding), ())
        self._version = 0
        self._model: weakref.ref[nn.Module] | None = weakref.ref(attachment.model)

    # What it is

    @property
    def owner(self) -> str:
        """Whose facts these are."""
        return self._owner

    @property
    def layer(self) -> int:
        """The decoder block at whose input the table is read."""
        return self._layer

    @property
    def addressing(self) -> Addressing:
        """Whether rows have exact addresses, or replace those of a memory's buckets."""
        return "exact" if self.buckets is None else "bucket"

    @property
    def buckets(self) -> BucketLayout | None:
        """The rows that the table replaces some of: their numbers are its addresses.

        `buckets.bucket(number)` says which order, head and bucket that is. None for exact
        addresses.
        """
        return self._binding.buckets

    @property
    def dtype(self) -> RowDtype:
        """How rows are stored."""
        return self._dtype

    @property
    def binding(self) -> Binding:
        """What the table was written for."""
        return self._binding

    @property
    def version(self) -> int:
        """Raised by every write and erase. Caches of a model depend on (owner, version)."""
        return self._version

    # What is in it

    @property
    def entries(self) -> tuple[Entry, ...] | None:
        """The ledger: facts with times, sources and history. None if it was saved without."""
        return self._state[1]

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The facts, in the order in which they were written.

        Raises:
            LedgerMissingError: If the table was saved without its texts.
        """
        return tuple(entry.fact for entry in self._require_ledger("listing facts"))

    @property
    def rows(self) -> Rows:
        """Addresses and rows."""
        return self._state[0]

    @property
    def has_rows(self) -> bool:
        """Whether anything can be found in the table."""
        return self._state[0].addresses.numel() > 0

    @property
    def nbytes(self) -> int:
        """Bytes of rows and addresses, as in the file; the ledger's text is not counted."""
        rows = self.rows
        stored = encode_rows(rows.values, self._dtype)
        size = sum(tensor.nbytes for tensor in stored.values())
        row_index = encode_row_index(rows.row_index, rows.values.shape[0])
        return size + rows.addresses.nbytes + (0 if row_index is None else row_index.nbytes)

    def __len__(self) -> int:
        return len(self._require_ledger("counting facts"))

    def __bool__(self) -> bool:
        # An empty table is still a table: `if table` must not mean `if len(table)`.
        return True

    def __contains__(self, fact: object) -> bool:
        entries = self._require_ledger("looking a fact up")
        if isinstance(fact, Fact):
            return any(entry.fact == fact for entry in entries)
        try:
            return bool(_matching(entries, fact))
        except FactError:
            return False

    def __iter__(self) -> Iterator[Fact]:
        return iter(self.facts)

    def __repr__(self) -> str:
        entries = self.entries
        count = "facts unknown" if entries is None else f"{len(entries)} facts"
        return (
            f"UserTable(owner={self._owner!r}, {count}, {self.rows.values.shape[0]} rows,"
            f" {self.nbytes} bytes, layer={self._layer}, version={self._version})"
        )

    # Changing it

    def write(
        self,
        facts: FactLike | Iterable[FactLike],
        *,
        stop: str | None = AUTO_STOP,
        min_order: int = 3,
        context: Literal["full", "shortest"] = "full",
        guard: str | Sequence[str] = (),
        contexts: int | Sequence[str] = 1,
        source: str | None = None,
        progress: bool | None = None,
    ) -> WriteReport:
        """Write facts: find rows with which the model answers them, and ask each one.

        Rows come in closed form, one for each token that is to be said, and are optimised for the
        facts that are not answered so. Every fact is asked (see `evaluation.ask`). One whose whole
        answer greedy decoding would not say is tried again (more steps, longer address, another
        start) and otherwise left out and named in the report, and what it would have replaced
        stays. A fact whose trigger is in the table already replaces the old one, which moves to the
        entry's history.

        Args:
            facts: `Fact` objects, (prompt, answer) pairs, dictionaries, chats that end with the
                assistant's answer, or statements ("My dentist is on Main Street."); one or many.
                With a shared LoRA, what is asked by name ("What is my shoe size?") also gets the
                trigger that the skill recites ("My shoe size is").
            stop: What ends an answer: "auto" is a full stop, unless the answer ends a sentence by
                itself, and a line end where it would go on behind that. A text is taken as it is;
                None writes no end.
            min_order: Shortest suffix of a trigger, in tokens, that may become an address.
            context: "full" addresses by the whole trigger (in a chat, by its last message), up to
                the configuration's `max_order`; "shortest" by the shortest suffix that is
                unambiguous in the table, which also fires in some other wordings and in some texts
                about somebody else.
            guard: Texts in which no address may occur: addresses become longer until none does.
            contexts: In how many short texts rows are optimised besides on their own (0 to 4), or
                the texts. More make a fact hold in more surroundings and take longer. Rows in
                closed form need none.
            source: Where the facts come from; kept in the ledger.
            progress: Show a progress bar; None shows it on a terminal, for what takes over 2 s.

        Returns:
            What was written and what was not. Nothing has changed if an error is raised.

        Raises:
            FactError: If a fact can't be written as it is given; nothing is written then. Its
                subclasses name empty prompts and answers, triggers that are too long, and facts of
                one call that contradict each other.
            TableMismatchError: If the model is not the one the table belongs to any more.
            LedgerMissingError: If the table was saved without its texts.
            ModelGoneError: If the model was deleted; see `bind`.
            ConfigError: If an option is not allowed.
            NoBucketsError: If the table is empty, and the rows it was to replace are gone.
        """
        from engram_transformers.write_options import WriteOptions
        from engram_transformers.writing import write_facts

        options = WriteOptions(stop, min_order, context, guard, contexts, source, progress)
        given = as_facts(facts)
        attachment = self.attachment
        attachment.require_vocabulary()
        bound = self.bound_for_writing(attachment, Binding.of(attachment))
        if not given:
            return WriteReport(rows=self.rows.values.shape[0], nbytes=self.nbytes)
        return self.take(bound, write_facts(bound, given, options))

    def erase(
        self,
        facts: FactLike | Prompt | Iterable[FactLike | Prompt] | None = None,
        *,
        all: bool = False,
    ) -> EraseReceipt:
        """Erase facts: their rows, their addresses and their entries in the ledger.

        Other facts keep their rows and addresses as they are, bit for bit. Files that were saved
        before keep what they have: save again.

        Args:
            facts: Facts or prompts; a `Fact` or pair must match in its answer too.
            all: Erase everything.

        Returns:
            What was erased. Nothing has changed if an error is raised.

        Raises:
            FactNotFoundError: If something is not in the table; nothing is erased then.
            LedgerMissingError: If the table was saved without its texts and `all` is False.
            ConfigError: If neither or both of `facts` and `all` are given.
        """
        if all == (facts is not None):
            raise ConfigError("facts", facts, "given, or all=True set, and not both")
        before = self.rows
        entries = self.entries
        if all:
            erased = entries or ()
            left: tuple[Entry, ...] = ()
            rows = _subset(before, torch.zeros_like(before.addresses, dtype=torch.bool))
        else:
            entries = self._require_ledger("erasing single facts")
            erased = self._find(entries, facts)
            gone = {id(entry) for entry in erased}
            left = tuple(entry for entry in entries if id(entry) not in gone)
            rows = self._rows_of(left)
        self._replace(rows, left)
        return EraseReceipt(
            self._owner,
            tuple(entry.fact for entry in erased),
            before.values.shape[0] - rows.values.shape[0],
            before.addresses.numel() - rows.addresses.numel(),
            len(left),
            self._version,
            datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    # Files

    def save_pretrained(self, save_directory: str | Path, *, store_text: bool = True) -> Path:
        """Save the table to a folder: `table.safetensors`, `engram_config.json`, `README.md`.

        The same table gives the same bytes. A `README.md` that no table wrote stays as it is.

        Args:
            save_directory: Made if it does not exist.
            store_text: Whether the ledger (the facts' texts, times and sources) is part of the
                file. Without it a loaded table can be read, but not added to, and erased only as a
                whole.

        Returns:
            The folder.

        Raises:
            TableSaveError: If it can't be saved (an `OSError`); the folder is then as it was
                before.
        """
        from engram_transformers.files import save_table

        return save_table(self, Path(save_directory), store_text=store_text)

    @classmethod
    def from_pretrained(
        cls, path_or_repo: str | Path, model: nn.Module, *, revision: str | None = None
    ) -> UserTable:
        """Load a table from a folder or from the Hub.

        Args:
            path_or_repo: A folder that `save_pretrained` made, or a Hub repository. What exists
                here comes first.
            model: A patched model with the fingerprints of the one the table was written for.
            revision: Of a Hub repository.

        Returns:
            The table.

        Raises:
            TableFileError: If files are missing, damaged or not a table's; all problems are listed.
            TableMismatchError: If it belongs to another model; all differences are listed.
            HubError: If there is no such folder, and no such repository that can be reached.
            NotPatchedError: If the model has no memories.
        """
        from engram_transformers.files import load_table

        attachment = require_attachment(model)
        folder = Path(path_or_repo)
        # os.path: unlike pathlib's, it answers no to names that no file can have.
        if not os.path.lexists(folder):
            from engram_transformers.hub import fetch_table

            folder = fetch_table(str(path_or_repo), revision)
        return load_table(folder, attachment)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        store_text: bool = True,
        token: str | None = None,
    ) -> str:
        """Upload the table to the Hub.

        A repository keeps its earlier commits: what was erased since is still in those.

        Args:
            repo_id: "name/repository"; made if it does not exist.
            private: Make a new repository private, and refuse one that exists and is public.
            store_text: See `save_pretrained`.
            token: Of the Hub account; None uses the one that is logged in.

        Returns:
            The commit's address.

        Raises:
            TableSaveError: If the table can't be saved; nothing is made on the Hub then.
            HubError: If the Hub refuses or can't be reached, or the repository is public.
        """
        from engram_transformers.hub import push_table

        return push_table(self, repo_id, private=private, store_text=store_text, token=token)

    # The model it belongs to

    @property
    def attachment(self) -> Attachment:
        """The patch of the live model.

        Raises:
            ModelGoneError: If there is none.
        """
        model = None if self._model is None else self._model()
        attachment = None if model is None else find_attachment(model)
        if attachment is None:
            raise ModelGoneError(self._owner)
        return attachment

    def bind(self, model: nn.Module) -> UserTable:
        """Bind the table to a live model, for example after unpickling it.

        Args:
            model: A patched model with the table's fingerprints.

        Returns:
            This table.

        Raises:
            TableMismatchError: If the model is another one.
        """
        attachment = require_attachment(model)
        self._binding.require(attachment, self._owner, self._layer)
        self._model = weakref.ref(attachment.model)
        return self

    def require_fit(self, attachment: Attachment, now: Binding | None = None) -> None:
        """Raise `TableMismatchError` unless a patched model, bound as `now` says, can read it."""
        self._binding.require(attachment, self._owner, self._layer, now=now)

    def attach_shared_lora(self, adapter: str | Path) -> SharedLora:
        """Attach a shared LoRA to the model; facts written from now on need it.

        The adapter is attached once per model, for all tables; this one records it, and
        `use_tables` refuses the table without it.

        Args:
            adapter: A PEFT adapter's folder or Hub repository.

        Returns:
            What was attached.

        Raises:
            SharedLoraError: If it can't be attached, or the table has facts written without it.
        """
        from engram_transformers.lora import attach_shared_lora, require_rewritten

        require_rewritten(self, adapter)
        attach_shared_lora(self.attachment.model, adapter)
        self._binding = self._bound_as(Binding.of(self.attachment))
        lora = self._binding.lora
        if lora is None:
            raise ModelGoneError(self._owner)
        return lora

    def for_owner(self, owner: str) -> UserTable:
        """Return an empty table like this one for somebody else, without looking at the model."""
        if not isinstance(owner, str) or not owner.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError("owner", owner, "a name")
        table = self._bound(self._binding, self.attachment)
        table._owner, table._state, table._version = owner, (_no_rows(self._binding), ()), 0
        return table

    def reading(self, rows: Rows) -> UserTable:
        """Return a table like this one with other rows and no ledger, to read but not to keep."""
        table = self._bound(self._binding, self.attachment)
        table._state = (rows, None)
        return table

    def bound_for_writing(self, attachment: Attachment, now: Binding) -> UserTable:
        """Return a copy bound to a model as it is now, in which facts can be written.

        Raises:
            TableMismatchError: If the table has rows and belongs to another model.
            NoBucketsError: If it has none, and the rows it was to replace are gone.
        """
        if self.has_rows or attachment is not self.attachment:
            self._binding.require(attachment, self._owner, self._layer, writing=True, now=now)
        elif self.buckets is not None:  # the model may have other banks by now
            layout = require_hashed_rows(attachment, self._layer).layout
            return self._bound(dataclasses.replace(now, buckets=layout), attachment)
        return self._bound(self._bound_as(now), attachment)

    def take(self, bound: UserTable, written: Written) -> WriteReport:
        """Take over what was written in a copy; return the report with this table's size."""
        self._binding = bound.binding
        self._replace(written.rows, written.entries)
        return dataclasses.replace(
            written.report, rows=self.rows.values.shape[0], nbytes=self.nbytes
        )

    # Internals

    @classmethod
    def _restore(
        cls,
        attachment: Attachment,
        owner: str,
        layer: int,
        dtype: RowDtype,
        binding: Binding,
        rows: Rows,
        entries: tuple[Entry, ...] | None,
        version: int,
    ) -> UserTable:
        table = cls.__new__(cls)
        table._owner, table._layer, table._dtype = owner, layer, dtype
        table._binding, table._state, table._version = binding, (rows, entries), version
        table._model = weakref.ref(attachment.model)
        return table

    def _bound_as(self, now: Binding) -> Binding:
        """Return what the table is bound to on a model of which `Binding.of` says this."""
        return dataclasses.replace(now, buckets=self._binding.buckets)

    def _bound(self, binding: Binding, attachment: Attachment) -> UserTable:
        """Return a second table with the same content."""
        return self._restore(
            attachment,
            self._owner,
            self._layer,
            self._dtype,
            binding,
            *self._state,
            self._version,
        )

    def _replace(self, rows: Rows, entries: tuple[Entry, ...] | None) -> None:
        self._state = (rows, entries)
        self._version += 1

    def _require_ledger(self, action: str) -> tuple[Entry, ...]:
        if self.entries is None:
            raise LedgerMissingError(self._owner, action)
        return self.entries

    def _find(self, entries: tuple[Entry, ...], wanted: Any) -> tuple[Entry, ...]:
        if (
            isinstance(wanted, (Fact, str, dict))
            or not isinstance(wanted, Iterable)
            or (isinstance(wanted, tuple) and _matching(entries, wanted))
        ):
            wanted = [wanted]
        found: dict[int, Entry] = {}
        missing: list[str] = []
        for one in wanted:
            matches = _matching(entries, one)
            found.update({id(entry): entry for entry in matches})
            if not matches:
                missing.append(repr(one))
        if missing:
            raise FactNotFoundError(self._owner, missing)
        return tuple(found.values())

    def _rows_of(self, entries: tuple[Entry, ...]) -> Rows:
        """Return the rows that some facts need, at the addresses they have."""
        rows = self.rows
        if self.buckets is not None:
            from engram_transformers.buckets.places import rows_of_entries

            keep = torch.isin(rows.addresses, rows_of_entries(self, entries))
            return _subset(rows, keep)
        places = locate(self.attachment, self, entries)
        kept = {address for place in places for line in place.addresses for address in line}
        keep = torch.tensor([a in kept for a in rows.addresses.tolist()], dtype=torch.bool)
        orders = {o for entry in entries for line in entry.orders for o in line if o}
        return dataclasses.replace(_subset(rows, keep), orders=tuple(sorted(orders)))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model behind; see `bind`."""
        return {**self.__dict__, "_model": None}


def _matching(entries: Iterable[Entry], wanted: Any) -> list[Entry]:
    """Return the entries that a fact, a pair or a prompt names."""
    entries = list(entries)
    named = [entry for entry in entries if wanted in entry.fact.prompts]
    if named or isinstance(wanted, str):
        return named
    try:
        facts = as_facts(wanted)
    except FactError:
        prompt = as_prompt(wanted)
        return [entry for entry in entries if prompt in entry.fact.prompts]
    return [
        entry
        for entry in entries
        for fact in facts
        if fact.prompt in entry.fact.prompts and fact.answer.strip() == entry.fact.answer.strip()
    ]


def _subset(rows: Rows, keep: torch.Tensor) -> Rows:
    used, row_index = torch.unique(rows.row_index[keep], return_inverse=True)
    orders = rows.orders if bool(keep.any()) else ()
    return Rows(rows.addresses[keep], row_index, rows.values[used], orders)


def _no_rows(binding: Binding) -> Rows:
    nothing = torch.zeros(0, dtype=torch.int64)
    return Rows(nothing, nothing, torch.zeros(0, binding.row_width), ())


def _resolve_layer(attachment: Attachment, layer: int | None) -> int:
    layers = sorted(attachment.memories)
    if layer is None:
        return layers[-1]
    blocks = int(attachment.blocks)
    resolved = layer % blocks if -blocks <= layer < blocks else layer
    if resolved not in attachment.memories:
        raise LayerIndexError(layer, blocks, f"the model, with memories at {layers},")
    return resolved
