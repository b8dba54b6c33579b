"""`use_tables`: whose rows are read, in this thread or task, until the block ends."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Union

import torch
from torch import Tensor, nn

from engram_transformers.buckets.index import BucketIndex
from engram_transformers.calls import Call
from engram_transformers.errors import TableCountError
from engram_transformers.history import ledger_of
from engram_transformers.prepared import Prepared

if TYPE_CHECKING:
    from engram_transformers.attachment import Attachment
    from engram_transformers.patch_state import PatchState
    from engram_transformers.table import UserTable

TablesOfSample = Union["UserTable", Sequence["UserTable"], None]


@dataclass(eq=False)
class Frame:
    """The tables that are active for one model.

    Attributes:
        attachment: The model's patch.
        tables: The distinct tables.
        samples: For each sample, the positions of its tables in `tables`, strongest first. None:
            every sample reads all of `tables`.
    """

    attachment: Attachment
    tables: tuple[UserTable, ...]
    samples: tuple[tuple[int, ...], ...] | None
    _known: dict[tuple[int, torch.device], tuple[tuple[int, ...], Prepared]] = field(
        default_factory=dict
    )
    _owners: dict[torch.device, Tensor] = field(default_factory=dict)
    _buckets: dict[tuple[int, torch.device], tuple[tuple[int, ...], BucketIndex]] = field(
        default_factory=dict
    )

    def has_rows(self, layer: int) -> bool:
        """Say whether any active table has a row at the memory of a layer."""
        return any(t.layer == layer and t.has_rows and t.buckets is None for t in self.tables)

    def has_buckets(self, layer: int) -> bool:
        """Say whether any active table replaces a row of the bank, or so, of a layer."""
        return any(t.layer == layer and t.has_rows and t.buckets is not None for t in self.tables)

    @property
    def has_any_rows(self) -> bool:
        """Whether any active table has a row."""
        return any(table.has_rows for table in self.tables)

    def require_readable(self, call: Call) -> None:
        """Raise if a call is not one that rows can be read in.

        Args:
            call: A forward that is about to run.

        Raises:
            HistoryError: If the tokens that lead up to its positions are unknown.
            TableCountError: If the batch is not one the tables were given for.
        """
        if call.problem is not None:
            raise call.problem
        if call.window is not None:
            self._owners_of_batch(call, call.window)

    def read(self, call: Call, layer: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Read the rows of every position of a call.

        Args:
            call: The running forward.
            layer: The memory that reads.
            device: Where the memory's hidden states are.

        Returns:
            (batch, seq, row_dim) float32 rows, and (batch, seq) bool: where one was found.

        Raises:
            TableCountError: If the batch is not one the tables were given for.
        """
        window = call.window
        if window is None:
            raise RuntimeError("A call without ids was not refused.")
        prepared = self._prepared(layer, window.device)
        rows, found = prepared.read(
            window,
            1 if call.is_paged else call.shape[1],
            self._owners_of_batch(call, window),
            is_shared=self.samples is None,
        )
        if call.is_paged:  # (tokens, 1) to (1, tokens)
            rows, found = rows.transpose(0, 1), found.transpose(0, 1)
        return rows.to(device), found.to(device)

    def read_buckets(self, call: Call, layer: int, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Find the rows that tables have in place of a memory's own.

        Args:
            call: The running forward.
            layer: The memory that reads.
            numbers: (batch, seq, heads) int64, the rows that it is about to read.

        Returns:
            (batch, seq, heads, width) float32, and (batch, seq, heads) bool: where there is one.

        Raises:
            TableCountError: If the batch is not one the tables were given for.
        """
        window = call.window
        if window is None:
            raise RuntimeError("A call without ids was not refused.")
        owners = self._owners_of_batch(call, window).to(numbers.device)
        versions = tuple(table.version for table in self.tables)
        known = self._buckets.get((layer, numbers.device))
        if known is None or known[0] != versions:
            index = self._bucket_index(layer, numbers.device)
            known = self._buckets[layer, numbers.device] = (versions, index)
        return known[1].find(numbers, owners)

    def _bucket_index(self, layer: int, device: torch.device) -> BucketIndex:
        here = [t if t.buckets is not None and t.layer == layer else None for t in self.tables]
        layout = next(t.buckets for t in here if t is not None)
        if layout is None:
            raise RuntimeError("A table of buckets has no layout.")
        rows = [None if table is None else table.rows for table in here]
        return BucketIndex.build(rows, layout.rows, device)

    def state(self) -> tuple[object, ...]:
        """Return what tells two states of the active tables apart.

        Keys that were cached under one of them are not those of another.
        """
        tables = tuple((table, table.version) for table in self.tables if table.has_rows)
        return (tables, self.samples) if tables else ()

    def _prepared(self, layer: int, device: torch.device) -> Prepared:
        """Return what finds the rows at a layer, made again when a table has changed."""
        versions = tuple(table.version for table in self.tables)
        known = self._known.get((layer, device))
        if known is not None and known[0] == versions:
            return known[1]
        attachment = self.attachment
        nothing = attachment.no_rows
        rows = [
            table.rows if table.layer == layer and table.buckets is None else nothing
            for table in self.tables
        ]
        prepared = attachment.prepared.of(
            rows, device, attachment.hasher, attachment.premixed(device)
        )
        self._known[layer, device] = (versions, prepared)
        return prepared

    def _owners_of_batch(self, call: Call, window: Tensor) -> Tensor:
        """Return each batch row's owners, (batch, depth) int64, -1 for nobody."""
        batch = window.shape[0]
        owners = self._owners.get(window.device)
        if owners is None:
            if self.samples is None:
                owners = torch.arange(len(self.tables)).unsqueeze(0)
            else:
                depth = max((len(sample) for sample in self.samples), default=0) or 1
                padded = [[*sample, *([-1] * (depth - len(sample)))] for sample in self.samples]
                owners = torch.tensor(padded, dtype=torch.int64).view(-1, depth)
            owners = self._owners[window.device] = owners.to(window.device)
        if self.samples is None:
            return owners.expand(batch, -1)
        samples = len(self.samples)
        if call.is_paged:
            raise TableCountError(
                samples,
                call.shape[0],
                "Continuous batching puts all requests into one row, so they can only share a"
                " single table.",
            )
        if batch == samples:
            return owners
        if batch == 0 or batch % samples:
            raise TableCountError(samples, batch)
        copies = batch // samples
        _require_copies(call, window, samples, copies)
        return owners.repeat_interleave(copies, dim=0)


def _require_copies(call: Call, window: Tensor, samples: int, copies: int) -> None:
    """Raise unless each sample's rows were copies of one prompt: beams or num_return_sequences.

    A batch that merely is a multiple of the tables would give one user's facts to another.
    """
    if call.rows_per_sample == copies:
        return
    groups = window.view(samples, copies, -1)
    if not bool((groups == groups[:, :1]).all()):
        reason = "It is a multiple, but not made of copies of each sample, as beams would be."
        raise TableCountError(samples, samples * copies, reason)
    call.rows_per_sample = copies
    ledger = ledger_of(call.cache)
    if ledger is not None:
        ledger.rows_per_sample = copies


_FRAMES: ContextVar[tuple[Frame, ...]] = ContextVar("engram_frames", default=())
_DISABLED: ContextVar[tuple[object, ...]] = ContextVar("engram_disabled", default=())


def is_disabled(attachment: PatchState) -> bool:
    """Say whether `engram_disabled` holds here."""
    return attachment in _DISABLED.get()


def frame_of(attachment: PatchState) -> Frame | None:
    """Return the innermost active frame of a patch, None if nothing is active or it is disabled."""
    if attachment in _DISABLED.get():
        return None
    for frame in reversed(_FRAMES.get()):
        if frame.attachment is attachment:
            return frame
    shared = attachment.shared_frames
    return shared[-1] if shared else None


@contextmanager
def use_tables(
    model: nn.Module,
    tables: UserTable | Sequence[TablesOfSample] | None,
    *,
    all_threads: bool = False,
) -> Generator[None]:
    """Let a model read tables until the block ends.

    Only this thread (or asyncio task) sees them, unless `all_threads` says otherwise. Inner blocks
    replace outer ones. Tables that are written or erased within the block are read as they then
    are.

    Args:
        model: A patched model.
        tables: One table for every sample; or a sequence with one entry per sample of the batch:
            a table, None (reads nothing), or a sequence of tables, strongest first: where two have
            a row, the first one's is read. Samples that `generate` copies (beams,
            `num_return_sequences`) keep their entry. None reads nothing.
        all_threads: Whether threads without tables of their own read these too. A thread that runs
            `generate` for a streamer, and the one that `generate_batch` starts for continuous
            batching, need it. Not for a server that answers several users at once: there, enter the
            block in the thread that generates.

    Yields:
        Nothing.

    Raises:
        NotPatchedError: If the model has no memories.
        DamagedPatchError: If its hooks were removed or its blocks replaced.
        TokenizerMismatchError: If its embeddings were resized since it was patched.
        TableMismatchError: If a table belongs to another model, tokenizer, configuration or LoRA.
        TableCountError: Within the block, if a batch has another number of samples.

    Example:
        >>> def generate(model, table, inputs):
        ...     with use_tables(model, table):
        ...         return model.generate(**inputs)
    """
    frame = make_frame(model, tables)
    attachment = frame.attachment
    # torch.compile follows no context variable; one that is compiled without tables is told so.
    attachment.open_frame(frame, all_threads=all_threads)
    token = _FRAMES.set((*_FRAMES.get(), frame))
    try:
        yield
    finally:
        _FRAMES.reset(token)
        attachment.close_frame(frame)


def make_frame(model: nn.Module, tables: UserTable | Sequence[TablesOfSample] | None) -> Frame:
    """Check tables against a model and arrange them. See `use_tables`."""
    from engram_transformers.attachment import require_attachment
    from engram_transformers.binding import Binding
    from engram_transformers.table import UserTable

    attachment = require_attachment(model)
    if tables is None:
        return Frame(attachment, (), None)
    attachment.require_intact()
    attachment.require_vocabulary()
    if isinstance(tables, UserTable):
        tables.require_fit(attachment)
        return Frame(attachment, (tables,), None)
    now = Binding.of(attachment)
    distinct: dict[int, int] = {}
    ordered: list[UserTable] = []
    samples: list[tuple[int, ...]] = []
    for position, entry in enumerate(tables):
        stack = [entry] if isinstance(entry, UserTable) else list(entry or ())
        for table in stack:
            if not isinstance(table, UserTable):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(
                    f"Sample {position} has a {type(table).__name__} among its tables; give"
                    " UserTable objects, None, or lists of UserTable objects."
                )
            if id(table) not in distinct:
                table.require_fit(attachment, now)
                distinct[id(table)] = len(ordered)
                ordered.append(table)
        samples.append(tuple(distinct[id(table)] for table in stack))
    if not samples:
        raise TableCountError(0, 1, "An empty list fits no batch.")
    return Frame(attachment, tuple(ordered), tuple(samples))


@contextmanager
def engram_disabled(model: nn.Module) -> Generator[None]:
    """Let a model compute as if it had never been patched, until the block ends.

    Nests, and holds for this thread (or asyncio task) only. Token history is still kept, so a cache
    filled within the block can be used after it; not so if the model has a bank, whose convolution
    then lacks what it would have been given.

    Args:
        model: A patched model.

    Yields:
        Nothing.

    Raises:
        NotPatchedError: If the model has no memories.
    """
    from engram_transformers.attachment import require_attachment

    attachment = require_attachment(model)
    attachment.count_disabled(1)
    token = _DISABLED.set((*_DISABLED.get(), attachment))
    try:
        yield
    finally:
        _DISABLED.reset(token)
        attachment.count_disabled(-1)
