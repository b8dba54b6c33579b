"""Strategies that draw plans for `test_fuzz`; hypothesis shrinks the ones that fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fuzz_plans import (
    Batch,
    CacheKind,
    Cell,
    Crop,
    Feed,
    Line,
    NGram,
    Owned,
    Plan,
    Reorder,
    Repeat,
    Select,
    Step,
    Style,
)
from hypothesis import strategies as st

LONGEST = 24
"""Cells of the first call, at most."""
STYLES: tuple[Style, ...] = ("nothing", "mask", "mask and positions", "packed", "4-D mask")
CACHES: tuple[CacheKind, ...] = ("none", "dynamic", "sliding", "static", "static sliding")
KINDS: tuple[tuple[Style, CacheKind], ...] = tuple(
    (style, cache)
    for style in STYLES
    for cache in CACHES
    # A 4-D mask has the keys of one layer: what a sliding window shows differs from call to call.
    if not (style == "4-D mask" and "sliding" in cache)
)


@st.composite
def plans(
    draw: st.DrawFn,
    style: Style,
    cache: CacheKind,
    *,
    tokens: Sequence[int],
    canonical: Sequence[int],
    layers: Sequence[int],
    max_orders: Sequence[int],
    most_steps: int,
) -> Plan:
    """Draw a plan.

    Args:
        draw: hypothesis'.
        style: How padding and borders are told.
        cache: What holds the past.
        tokens: The ids that texts are made of.
        canonical: Token id -> canonical id.
        layers: Where tables are read.
        max_orders: To choose from.
        most_steps: Steps after the first.
    """
    rows = draw(st.integers(1, 5))
    copies = draw(st.sampled_from([1, 1, 2, 3]))
    first = draw(_feeds(style, tokens, rows, draw(st.sampled_from([4, LONGEST]))))
    first = Feed(tuple(line for line in first.cells for _ in range(copies)))
    plan = Plan(style, cache, draw(st.sampled_from(max_orders)), (first,), copies)
    batch = Batch.before(plan)
    batch.apply(first)
    lines, by_sample = list(batch.lines), draw(st.booleans())
    for _ in range(0 if cache == "none" else draw(st.integers(0, most_steps))):
        step = draw(_steps(plan, batch, tokens, by_sample=by_sample))
        batch.apply(step)
        lines += batch.lines
        plan = replace(plan, steps=(*plan.steps, step))
    tables = tuple(
        draw(_owned(lines, canonical, layers, plan.max_order))
        for _ in range(draw(st.integers(1, 4)) if by_sample else 1)
    )
    stack = st.lists(st.integers(0, len(tables) - 1), max_size=3, unique=True).map(tuple)
    samples = tuple(draw(stack) for _ in range(rows)) if by_sample else None
    return replace(plan, tables=tables, samples=samples)


@st.composite
def _steps(
    draw: st.DrawFn, plan: Plan, batch: Batch, tokens: Sequence[int], *, by_sample: bool
) -> Step:
    """Draw a step that the cache can do; with tables per sample, it leaves each row its own."""
    rows = range(len(batch.lines))
    length = len(batch.lines[0])
    kinds = ["feed", "feed", "reorder"]
    if plan.cache in ("dynamic", "sliding"):
        kinds += ["select"] if len(rows) > 10 else ["select", "repeat"]
    if plan.cache == "dynamic" and length > 1:
        kinds += ["crop", "crop"]
    if not isinstance(plan.steps[-1], Feed):
        kinds += ["feed"] * len(kinds)  # what was done shows in what is read next
    kind = draw(st.sampled_from(kinds))
    if kind == "feed":
        most = draw(st.sampled_from([1, 1, 6]))  # steps of one token have a reader of their own
        return draw(_feeds(plan.style, tokens, len(rows), most))
    if kind == "crop":
        return Crop(draw(st.integers(1, length - 1)))
    if kind == "repeat":
        return Repeat(draw(st.integers(1, 3)))
    if not by_sample:
        count = len(rows) if kind == "reorder" else draw(st.integers(1, 5))
        chosen = draw(st.lists(st.sampled_from(rows), min_size=count, max_size=count))
        return Reorder(tuple(chosen)) if kind == "reorder" else Select(tuple(chosen))
    if kind == "reorder":
        others = [[r for r in rows if batch.samples[r] == batch.samples[row]] for row in rows]
        return Reorder(tuple(draw(st.sampled_from(other)) for other in others))
    mine = [[r for r in rows if batch.samples[r] == s] for s in sorted(set(batch.samples))]
    return Select(tuple(draw(st.sampled_from(of_sample)) for of_sample in mine))


@st.composite
def _feeds(draw: st.DrawFn, style: Style, tokens: Sequence[int], rows: int, most: int) -> Feed:
    """Draw new cells for each row, of a kind that the style can tell."""
    new = draw(st.integers(1, most))
    is_packed = style == "packed"
    cells: list[Line] = []
    for _ in range(rows):
        text = [tokens[byte % len(tokens)] for byte in draw(st.binary(min_size=new, max_size=new))]
        flags = [False] * new
        if is_packed:
            starts = draw(st.sets(st.integers(0, new - 1), max_size=4))
            flags = [place in starts for place in range(new)]
        elif style != "nothing":
            flags = draw(_paddings(new))
        cells.append(
            tuple(
                Cell(token, flag and not is_packed, flag and is_packed)
                for token, flag in zip(text, flags, strict=True)
            )
        )
    return Feed(tuple(cells))


@st.composite
def _paddings(draw: st.DrawFn, count: int) -> list[bool]:
    """Padding on the left, on the right, on both sides, or anywhere."""
    kind = draw(st.sampled_from(["none", "left", "right", "both", "inside"]))
    if kind == "inside":
        return [byte % 3 == 0 for byte in draw(st.binary(min_size=count, max_size=count))]
    left = draw(st.integers(0, count)) if kind in ("left", "both") else 0
    right = draw(st.integers(0, count)) if kind in ("right", "both") else 0
    return [place < left or place >= count - right for place in range(count)]


@st.composite
def _owned(
    draw: st.DrawFn,
    lines: Sequence[Line],
    canonical: Sequence[int],
    layers: Sequence[int],
    max_order: int,
) -> Owned:
    """Draw a table: of n-grams of the texts, also across padding and borders, and of others."""
    rows = draw(st.integers(1, 6))
    table: dict[NGram, int] = {}
    for number in range(draw(st.integers(0, 10))):
        line = draw(st.sampled_from(lines))
        order = draw(st.integers(1, min(len(line), max_order, draw(st.sampled_from([2, 4, 64])))))
        # Both ends of lines: where texts begin, and where new cells meet what the cache holds.
        where = draw(st.sampled_from(["anywhere", "start", "end"]))
        lowest = max(order, len(line) - 3) if where == "end" else order
        end = draw(st.integers(lowest, order if where == "start" else len(line)))
        key = tuple(canonical[cell.token] for cell in line[end - order : end])
        if draw(st.integers(0, 4)) == 4:
            other = draw(st.sampled_from(lines))[0]
            key = (canonical[other.token], *key[1:])
        table[key] = number % rows  # so several n-grams share a row
    return Owned(draw(st.sampled_from(layers)), table)
