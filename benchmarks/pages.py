"""Make docs/benchmarks.md, its plots and the figures in README.md from benchmarks/results/*.json.

Nothing in them is typed by hand. `--check` says whether they are in step with the results.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
from pathlib import Path
from typing import Any

from benchmarks import promises, summary
from benchmarks.common import RESULTS

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- numbers:begin -->", "<!-- numbers:end -->"
FIRST_MODEL = "SmolLM2-135M-Instruct"

Runs = dict[str, list[dict[str, Any]]]


def write_pages(root: Path = ROOT, results: Path = RESULTS) -> None:
    """Write every page and plot; remove plots that no benchmark draws any more."""
    made = pages(load_runs(results), root)
    for path, content in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(f"wrote {path.relative_to(root)}")
    for path in leftovers(made, root):
        path.unlink()
        print(f"removed {path.relative_to(root)}")


def stale_pages(root: Path = ROOT, results: Path = RESULTS) -> list[str]:
    """Return the names of the pages and plots that `write_pages` would change.

    Plots are compared by the results that they were drawn from: releases of matplotlib draw the
    same plot in different bytes.
    """
    made = pages(load_runs(results), root)
    stale = [path for path, content in made.items() if _identity(_read(path)) != _identity(content)]
    return [str(path.relative_to(root)) for path in [*stale, *leftovers(made, root)]]


def load_runs(results: Path = RESULTS) -> Runs:
    """Return all results by benchmark, the main model first; quick runs show no figures."""
    runs: Runs = {}
    for path in sorted(results.glob("*.json")):
        if not path.stem.endswith("-quick"):
            run = json.loads(path.read_text(encoding="utf-8"))
            runs.setdefault(run.get("benchmark", path.stem.partition("-")[0]), []).append(run)
    for found in runs.values():
        found.sort(key=lambda run: not str(run.get("model", "")).endswith(FIRST_MODEL))
    return runs


def pages(runs: Runs, root: Path = ROOT) -> dict[Path, str]:
    """Return what every page and plot should hold, by path."""
    from benchmarks.__main__ import NAMES

    images = root / "docs" / "images"
    made: dict[Path, str] = {}
    page = [
        "# Benchmarks",
        "",
        "Made by `python -m benchmarks pages` from the JSON files in `benchmarks/results`; each"
        " names the machine, the versions and the commit. `python -m benchmarks list` says what"
        " there is, `python -m benchmarks run NAME` runs it. What an answer is counted as:"
        " **whole**, the whole answer and its stop come by free greedy generation; **forced**, each"
        " of its tokens is the likeliest after the right ones before it; **first**, its first token"
        " is. Shares are cut, never rounded up.",
        "",
    ]
    for name in NAMES:
        module: Any = importlib.import_module(f"benchmarks.{name}")
        if not runs.get(name):
            if getattr(module, "SHOWN_UNMEASURED", False):  # it says what would be measured
                page += [*_trimmed(module.section([])), ""]
            continue
        section = _trimmed(module.section(runs[name]))
        page += [*section, ""]
        promised = [line for line in promises.lines(runs[name]) if line and line not in section]
        page += [*promised, ""] if promised else []
        if hasattr(module, "plot"):
            image = images / f"benchmark-{name}.svg"
            made[image] = svg(module.plot(runs[name]), digest(runs[name]))
            page += [f"![{_heading(module, runs[name])}](images/{image.name})", ""]
        if hasattr(module, "other_pages"):
            made.update({root / p: text for p, text in module.other_pages(runs[name]).items()})
    made[root / "docs" / "benchmarks.md"] = "\n".join(page).rstrip() + "\n"
    readme = root / "README.md"
    head, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    block = "\n".join(["", *summary.block(runs), ""])
    made[readme] = f"{head}{BEGIN}{block}{END}{tail}"
    return made


def svg(figure: Any, source: str) -> str:
    """Return a figure as text; the same figure gives the same text."""
    import matplotlib
    from matplotlib import pyplot

    # Text stays text: glyphs as paths would make files large and depend on fonts.
    with matplotlib.rc_context({"svg.hashsalt": "engram", "svg.fonttype": "none"}):
        buffer = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Description": f"results {source}"}
        figure.savefig(buffer, format="svg", metadata=metadata, bbox_inches="tight")
    pyplot.close(figure)
    # matplotlib leaves spaces at the ends of lines.
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def digest(runs: list[dict[str, Any]]) -> str:
    """Return a short name of some results' content."""
    return hashlib.sha256(json.dumps(runs, sort_keys=True).encode()).hexdigest()[:16]


def leftovers(made: dict[Path, str], root: Path = ROOT) -> list[Path]:
    """Return plots that belong to no results."""
    drawn = sorted((root / "docs" / "images").glob("benchmark-*.svg"))
    return [path for path in drawn if path not in made]


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _identity(content: str | None) -> str | None:
    """Return what must be equal in two versions of a page: for plots, the results' digest."""
    if content is None or "<svg" not in content[:2000]:
        return content
    _, _, rest = content.partition("<dc:description>")
    return rest.partition("</dc:description>")[0] or content


def _heading(module: Any, runs: list[dict[str, Any]]) -> str:
    return next(line for line in module.section(runs) if line.startswith("## "))[3:]


def _trimmed(lines: list[str]) -> list[str]:
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines
