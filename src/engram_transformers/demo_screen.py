"""How the demo looks in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from engram_transformers.attachment import Attachment
from engram_transformers.demo_report import (
    Answer,
    AroundCorners,
    BatchFigures,
    DemoReport,
    Erasure,
    Locality,
    UserFigures,
)
from engram_transformers.facts import Prompt
from engram_transformers.report import WriteReport
from engram_transformers.table import UserTable

_WRONG_SHOWN = 5
_LONGEST_CELL = 40


class Screen:
    """Tables go to standard output, progress to standard error."""

    def __init__(self, console: Console | None = None, progress: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._progress = progress or Console(stderr=True, highlight=False)

    @contextmanager
    def step(self, doing: str, total: int | None) -> Generator[Callable[[int], None]]:
        """Show that something runs, on a terminal only.

        Args:
            doing: What runs.
            total: How many things there are to do; None if they can't be counted.

        Yields:
            A function to be told how many more are done.
        """
        columns = [SpinnerColumn(), TextColumn("{task.description}")]
        counted = [BarColumn(), MofNCompleteColumn()] if total is not None else []
        disable = not self._progress.is_terminal
        with Progress(
            *columns, *counted, console=self._progress, transient=True, disable=disable
        ) as progress:
            task = progress.add_task(escape(doing), total=total)
            yield lambda count: progress.advance(task, count)

    def show_model(self, name: str, attachment: Attachment) -> None:
        """Say what is written to."""
        layers = ", ".join(str(layer) for layer in sorted(attachment.memories))
        self._heading(f"{name}: {attachment.blocks} blocks, rows are read at block {layers}")

    def show_writing(self, tables: Sequence[UserTable], reports: Sequence[WriteReport]) -> None:
        """Show how long writing took and what was left out."""
        grid = _grid("Writing", "facts written", "finding rows", "asking each fact", "rows")
        for table, report in zip(tables, reports, strict=True):
            given = len(report.written) + len(report.failed)
            grid.add_row(
                _name(table.owner),
                _share(len(report.written), given),
                f"{report.seconds:.2f} s",
                f"{report.evaluation_seconds:.2f} s",
                str(report.rows),
            )
        self._print(grid)
        for table, report in zip(tables, reports, strict=True):
            for failed in report.failed:
                self._bad(
                    f"left out for {table.owner}: “{_shown(failed.fact.prompt)}”"
                    f" → {failed.fact.answer}: {failed.reason} (“{failed.said.strip()}”)"
                )

    def show_answers(self, answers: Sequence[Answer]) -> None:
        """Show what the model said before and says now."""
        rows: list[tuple[Text, ...]] = []
        for answer in answers:
            right = answer.after.startswith(answer.expected)
            rows.append(
                (
                    Text(answer.owner, style="bold"),
                    Text(_one_line(_shown(answer.prompt))),
                    Text(_one_line(answer.before), style="dim"),
                    Text(_one_line(answer.after), style="green" if right else "red"),
                )
            )
        self._print(_texts(("Answers", "prompt", "before", "after"), rows, cut=2))

    def show_recall(self, users: Sequence[UserFigures]) -> None:
        """Show how many facts are answered whole, and where, and what the tables weigh."""
        grid = _grid("Whole answers", *(recall.where for recall in users[0].recall))
        for user in users:
            shares = (_share(recall.right, recall.asked) for recall in user.recall)
            grid.add_row(_name(user.owner), *shares)
        self._print(grid)
        wrong = [
            (user.owner, recall.where, w)
            for user in users
            for recall in user.recall
            for w in recall.wrong
        ]
        for owner, place, (prompt, expected, said) in wrong[:_WRONG_SHOWN]:
            self._bad(
                f"{owner}, {place}: “{_shown(prompt)}” → “{said.strip()}” instead of {expected}"
            )
        if len(wrong) > _WRONG_SHOWN:
            self._bad(f"and {len(wrong) - _WRONG_SHOWN} more (all of them with --json)")
        grid = _grid("Size", "in memory", "saved", "saved without texts")
        for user in users:
            sizes = (user.table_bytes, user.file_bytes, user.file_bytes_without_text)
            grid.add_row(_name(user.owner), *map(_kilobytes, sizes))
        self._print(grid)

    def show_batch(self, owners: Sequence[str], figures: BatchFigures) -> None:
        """Show both users in one batch."""
        rows = [
            (
                Text(_one_line(_shown(prompt))),
                *(Text(_one_line(text), style="green") for text in said[:-1]),
                Text(_one_line(said[-1]), style="dim"),
            )
            for prompt, said in figures.shown
        ]
        self._print(_texts(("One batch", *owners, "no table"), rows, cut=len(owners) + 1))
        self._line(
            f"of a batch of {figures.samples}, answered by their own user's table:",
            _share(figures.right, figures.asked),
        )
        self._line(
            "samples without a table, unchanged:",
            _share(figures.unchanged, figures.without_table),
        )

    def show_locality(self, unrelated: Locality, near: Locality) -> None:
        """Show what the tables change elsewhere: nothing."""
        self._console.print()
        self._line(
            f"{unrelated.texts} sentences unrelated to the users, bit-identical:",
            _yes(unrelated.identical == unrelated.texts),
        )
        self._line(
            f"  {unrelated.identical} of {unrelated.texts}; rows fired at"
            f" {unrelated.tokens_fired} of {unrelated.tokens} tokens"
        )
        for text in unrelated.fired_texts:
            self._console.print(f"  a row fired in: {escape(text)}", style="yellow")
        self._line(
            f"{near.texts} sentences with words of the facts: {near.identical} bit-identical;",
            f"a row fired in {near.fired}, which contain a trigger:"
            if near.fired
            else "none fired",
        )
        for text in near.fired_texts:
            self._console.print(f"  {escape(text)}", style="yellow")
        for text in (*unrelated.unexplained, *near.unexplained):
            self._bad(f"changed although no row fired: {text}")

    def show_erasure(self, erasure: Erasure) -> None:
        """Show what erasing left behind."""
        self._console.print()
        self._line(
            f"erased “{_shown(erasure.prompt)}” → {erasure.answer}; now:",
            f"“{_one_line(erasure.said_after)}”",
        )
        self._line(
            "  bit-identical to the base there:",
            f"{_yes(erasure.forgotten)};",
            "the user's other facts are answered:",
            _share(erasure.others_right, erasure.others_asked),
        )
        self._line(
            "erased everything; bit-identical to the base again:",
            _yes(erasure.identical == erasure.texts),
            f"({erasure.identical} of {erasure.texts} texts, all prompts among them)",
        )

    def show_around_corners(
        self, skill: str, table: UserTable, report: WriteReport, found: Sequence[AroundCorners]
    ) -> None:
        """Show questions that no trigger has the words of, and what was said to them."""
        self._heading(
            f"Around corners, with the skill {skill}: {len(report.written)} facts of"
            f" {table.owner}, {_kilobytes(table.nbytes)}"
        )
        for one in found:
            right = one.said.strip(" .").lower() == one.expected.strip(" .").lower()
            line = Text.assemble(
                (one.question, "bold"),
                "\n  ",
                (f"{_one_line(one.recited)} → ", "dim"),
                (_one_line(one.said) or "no answer", "green" if right else "red"),
                "" if right else f" (right: {one.expected})",
            )
            self._console.print(line)

    def show_promises(self, report: DemoReport) -> None:
        """Show what held and what did not."""
        self._heading(f"In {report.seconds:.0f} s, {report.load_seconds:.1f} s of them loading")
        for promise in report.promises:
            mark = "[green]✓[/]" if promise.held else "[red]✗[/]"
            self._console.print(f"{mark} {escape(promise.name)} [dim]({escape(promise.seen)})[/]")

    def show_saved(self, what: str, path: str) -> None:
        """Say where a file was written."""
        self._progress.print(f"{what}: {path}", markup=False)

    def _print(self, grid: Table) -> None:
        self._console.print()
        self._console.print(grid)

    def _heading(self, text: str) -> None:
        self._console.print()
        self._console.print(text, style="bold", markup=False)

    def _line(self, *parts: str) -> None:
        self._console.print(*(part for part in parts if part))

    def _bad(self, text: str) -> None:
        self._console.print(Padding(Text(_one_line(text), style="red"), (0, 0, 0, 2)))


def _grid(title: str, *columns: str) -> Table:
    """Return a table of figures."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column(
        title, style="bold", header_style="bold cyan", no_wrap=True, min_width=len(title)
    )
    for column in columns:
        grid.add_column(column, justify="right", header_style="dim", no_wrap=True)
    return grid


def _texts(titles: Sequence[str], rows: Sequence[Sequence[Text]], cut: int) -> Table:
    """Return a table of texts, one line each, of which one column is cut to fit the terminal."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    for number, title in enumerate(titles):
        longest = max(len(title), *(row[number].cell_len for row in rows))
        grid.add_column(
            title,
            header_style="bold cyan" if number == 0 else "dim",
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if number == cut else min(longest, _LONGEST_CELL),
            max_width=None if number == cut else _LONGEST_CELL,
            ratio=1 if number == cut else None,
        )
    for row in rows:
        grid.add_row(*row)
    return grid


def _share(part: int, whole: int) -> str:
    if not whole:
        return "–"
    colour = "green" if part == whole else "red"
    return f"[{colour}]{part} of {whole}[/]"


def _yes(held: bool) -> str:
    return "[bold green]yes[/]" if held else "[bold red]no[/]"


def _kilobytes(size: int) -> str:
    return f"{size / 1024:.1f} KB"


def _name(owner: str) -> str:
    return escape(owner)


def _shown(prompt: Prompt) -> str:
    """Return a text as it is, and of a chat the last message."""
    return prompt if isinstance(prompt, str) else prompt[-1][1]


def _one_line(text: str) -> str:
    return " ".join(text.split())
