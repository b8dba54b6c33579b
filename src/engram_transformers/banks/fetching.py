"""Bringing rows of offloaded tables to where a block will want them, while others compute.

A thread does it: it waits for the token ids, gathers the rows, and has them copied on a stream of
their own. The thread that runs the model waits only if it reaches the block before that is done.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from engram_transformers.banks.file_errors import OffloadError
from engram_transformers.banks.offloaded import OffloadedTable

REPLAYED = (
    "The model has a bank whose rows are in host memory or in files, and is being exported, traced"
    " or captured into a CUDA graph: what is read now would be replayed for ever. Bring the bank"
    ' back first: offload_banks(model, to="device").'
)


class Fetch:
    """Rows that are on their way.

    Args:
        future: Of the rows, (batch, seq, width), and of the event after which they are there.
    """

    def __init__(self, future: Future[tuple[Tensor, Any]]) -> None:
        self._future = future

    def rows(self) -> Tensor:
        """Return the rows, (batch, seq, width); whatever went wrong with them is raised."""
        rows, there = self._future.result()
        if there is not None:
            stream = torch.cuda.current_stream(rows.device)
            stream.wait_event(there)
            rows.record_stream(stream)
        return rows


class Fetcher:
    """The thread of one model that fetches rows, and its streams."""

    def __init__(self) -> None:
        self._streams: dict[torch.device, Any] = {}
        self._worker: tuple[int, ThreadPoolExecutor] | None = None

    def start(
        self,
        tables: Mapping[int, tuple[OffloadedTable, torch.device]],
        window: Tensor,
        first: int,
    ) -> dict[int, Fetch]:
        """Begin to fetch the rows of a call.

        Args:
            tables: Layer -> its table, and where its block computes.
            window: (batch, earlier + seq) int64 coded ids.
            first: Where the new ones begin.

        Returns:
            Layer -> what will be its rows; layers that come first are fetched first.

        Raises:
            OffloadError: If what the model does is being recorded, to be replayed without us.
        """
        if torch.jit.is_tracing() or _is_capturing(window):
            raise OffloadError(REPLAYED)
        on_host, arrived = self._on_host(window)
        return {
            layer: Fetch(self._submit(table, on_host, first, device, arrived))
            for layer, (table, device) in sorted(tables.items())
        }

    def _on_host(self, window: Tensor) -> tuple[Tensor, Any]:
        """Return ids on the CPU, and the event after which they are there."""
        if window.device.type != "cuda":
            return window.cpu(), None
        stream = self._stream(window.device)
        stream.wait_stream(torch.cuda.current_stream(window.device))
        with torch.cuda.stream(stream):
            on_host = torch.empty(window.shape, dtype=window.dtype, device="cpu", pin_memory=True)
            on_host.copy_(window, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record(stream)
        window.record_stream(stream)
        return on_host, arrived

    def _submit(
        self,
        table: OffloadedTable,
        window: Tensor,
        first: int,
        device: torch.device,
        arrived: Any,
    ) -> Future[tuple[Tensor, Any]]:
        pid = os.getpid()
        if self._worker is None or self._worker[0] != pid:  # a fork has no threads
            self._worker = (pid, ThreadPoolExecutor(1, "engram-fetch"))
        stream = self._stream(device) if device.type == "cuda" else None
        return self._worker[1].submit(_fetch, table, window, first, device, arrived, stream)

    def _stream(self, device: torch.device) -> Any:
        found = self._streams.get(device)
        if found is None:
            found = self._streams[device] = torch.cuda.Stream(device)
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what belongs to this process."""
        return {"_streams": {}, "_worker": None}


def fetch_now(table: OffloadedTable, window: Tensor, first: int, device: torch.device) -> Tensor:
    """Return rows at once, (batch, seq, width): for compiled code, which starts no threads."""
    return _gathered(table, window.cpu(), first, device, pinned=False)


def _fetch(
    table: OffloadedTable,
    window: Tensor,
    first: int,
    device: torch.device,
    arrived: Any,
    stream: Any,
) -> tuple[Tensor, Any]:
    if arrived is not None:
        arrived.synchronize()
    if stream is None:
        return _gathered(table, window, first, device, pinned=False), None
    with torch.cuda.stream(stream):
        rows = _gathered(table, window, first, device, pinned=True)
        there = torch.cuda.Event()
        there.record(stream)
    return rows, there


def _gathered(
    table: OffloadedTable, window: Tensor, first: int, device: torch.device, *, pinned: bool
) -> Tensor:
    def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="cpu", pin_memory=pinned)

    parts: list[Tensor] = []
    for rows, which in table.gather(window, first, empty):
        rows, which = rows.to(device, non_blocking=True), which.to(device, non_blocking=True)
        parts.append(rows[:, which].movedim(0, 1).flatten(1))  # (batch · seq, heads · head_dim)
    batch, seq = window.shape[0], window.shape[1] - first
    return torch.cat(parts, dim=1).view(batch, seq, -1).to(table.dtype)


def _is_capturing(window: Tensor) -> bool:
    return window.is_cuda and torch.cuda.is_current_stream_capturing()
