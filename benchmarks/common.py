"""What every benchmark shares: who ran it where, spread, peak memory, and one JSON file per run."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def environment(device: torch.device) -> dict[str, Any]:
    """Describe machine, versions and commit; nothing that names a person or a folder."""
    import huggingface_hub
    import transformers

    import engram_transformers

    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "huggingface_hub": huggingface_hub.__version__,
        "engram_transformers": engram_transformers.__version__,
        "commit": _commit(),
    }


def timed(device: torch.device, work: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and result of a piece of work, with the device's queue empty on both sides."""
    synchronise(device)
    started = time.perf_counter()
    result = work()
    synchronise(device)
    return time.perf_counter() - started, result


def spread(values: list[float]) -> dict[str, float | int]:
    """Summarise repeated measurements."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "n": len(values),
    }


def synchronise(device: torch.device) -> None:
    """Wait for a GPU; nothing to wait for on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def peak_memory(device: torch.device) -> Iterator[dict[str, float]]:
    """Measure by how many MiB memory grows at most within the block.

    On a GPU what torch allocates; on a CPU the resident set, sampled every 2 ms.
    """
    result: dict[str, float] = {}
    if device.type == "cuda":
        synchronise(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield result
        result["mib"] = (torch.cuda.max_memory_allocated(device) - before) / 2**20
        return
    before = _resident_bytes()
    highest = before
    stop = threading.Event()

    def sample() -> None:
        nonlocal highest
        while not stop.wait(0.002):
            highest = max(highest, _resident_bytes())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield result
    finally:
        stop.set()
        thread.join()
        result["mib"] = (highest - before) / 2**20


def write_results(name: str, results: dict[str, Any]) -> Path:
    """Write a run's JSON file and say where it is."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote benchmarks/results/{path.name}")
    return path


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    given = os.environ.get("BENCHMARK_COMMIT")  # where the code was copied to without its history
    if given:
        return given
    name = _git("describe", "--always")
    # Results of other benchmarks of one series are not what is measured.
    code = (":/src", ":/benchmarks", ":(top,exclude)benchmarks/results")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *code)
    return f"{name}-dirty" if name and changed else name or None


def _git(*arguments: str) -> str:
    here = Path(__file__).parent
    done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
    return done.stdout.strip()


def read_data(path: Path, source: str) -> Any:
    """Return a JSON file of the evaluation data.

    Raises:
        FileNotFoundError: If it is missing, naming where the data is from.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is not in {path.parent}; it is from {source}.")
    return json.loads(path.read_text(encoding="utf-8"))


def require(condition: bool, promise: str) -> None:
    """Stop the benchmark where its claim is not true."""
    if not condition:
        print(f"NOT HELD: {promise}", file=sys.stderr)
        raise SystemExit(1)
