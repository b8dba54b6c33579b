"""The command `engram-transformers`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from engram_transformers import __version__, table_commands
from engram_transformers.errors import EngramError
from engram_transformers.extras import require_package
from engram_transformers.pretrained import DEFAULT_MODEL

_INTERRUPTED = 130

_DESCRIPTION = """\
A memory that you can write, for Hugging Face language models.

  engram-transformers demo
  engram-transformers write notes --fact "My locker code is" 4471
  engram-transformers ask notes "My locker code is"
  engram-transformers explain notes "My locker code is"
  engram-transformers erase notes --prompt "My locker code is"
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Its arguments; None takes the process's.

    Returns:
        0 if it did what was asked, 1 if not, 130 if it was interrupted.

    Raises:
        SystemExit: With 2 for wrong usage, and with 0 for --help and --version.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    run: Callable[[argparse.Namespace, argparse.ArgumentParser], int] = arguments.run
    try:
        return run(arguments, arguments.parser)
    except EngramError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: no file was changed.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of the output (head, less) has gone
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="engram-transformers",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"engram-transformers {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_write(commands)
    _add_erase(commands)
    _add_show(commands)
    _add_ask(commands)
    _add_explain(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "demo",
        help="write two users' facts into a real model, ask them everywhere, and erase them",
        description="Write two made-up users' facts into a model, ask them on their own, in a chat"
        " and in a long text, compare everything else with the bare model bit for bit, and erase"
        " them again. Exits with 1 if anything that was promised did not hold.",
    )
    _add_model(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all figures")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="save a picture of where rows fired (.png, .svg)"
    )
    parser.add_argument(
        "--facts", type=int, default=34, metavar="N", help="facts per user, 1 to 34 (default: 34)"
    )
    parser.add_argument(
        "--layers",
        type=int,
        nargs="+",
        metavar="N",
        help="blocks with memories, negative from the end (default: chosen by the library)",
    )
    parser.add_argument(
        "--device", help='where the model runs, such as "cuda" (default: a GPU if there is one)'
    )
    parser.set_defaults(run=_demo, parser=parser)


def _add_write(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "write",
        help="write facts to a table",
        description="Write facts to a table in a folder. A fact whose prompt is there already"
        " replaces the old one. Exits with 1 if a fact was left out.",
    )
    parser.add_argument("folder", type=Path, help="the table's folder; made if it does not exist")
    parser.add_argument(
        "facts",
        nargs="?",
        help='JSON list or JSON Lines of {"prompt": …, "answer": …, "paraphrases": […]} or'
        " [prompt, answer]; - reads standard input",
    )
    parser.add_argument(
        "--fact",
        nargs=2,
        action="append",
        default=[],
        metavar=("PROMPT", "ANSWER"),
        help="one fact; may be given several times",
    )
    parser.add_argument("--owner", help="of a new table (default: the folder's name)")
    _add_model(parser, f"the table's own, or for a new one {DEFAULT_MODEL}")
    parser.add_argument(
        "--layer", type=int, metavar="N", help="block at which a new table is read (default: auto)"
    )
    parser.add_argument(
        "--stop",
        default="auto",
        help='what ends an answer: "auto" (a full stop), "none" or a text',
    )
    parser.add_argument("--source", help="where the facts come from; kept in the table")
    parser.set_defaults(run=table_commands.write, parser=parser)


def _add_erase(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "erase",
        help="erase facts from a table",
        description="Erase facts from a table in a folder, with their rows and their texts.",
    )
    parser.add_argument("folder", type=Path, help="the table's folder")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--prompt", nargs="+", metavar="PROMPT", help="prompts of the facts")
    which.add_argument("--all", action="store_true", help="erase everything")
    parser.add_argument("--yes", action="store_true", help="with --all: don't ask")
    _add_model(parser, "the table's own")
    parser.set_defaults(run=table_commands.erase, parser=parser)


def _add_show(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "show",
        help="show what is in a table",
        description="Show what is in a table's folder. No model is loaded.",
    )
    parser.add_argument("folder", type=Path, help="the table's folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rows", action="store_true", help="list addresses and rows as well")
    parser.set_defaults(run=table_commands.show, parser=parser)


def _add_ask(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "ask",
        help="let the model continue a prompt with a table",
        description="Print what the model says next, greedily.",
    )
    parser.add_argument("folder", type=Path, help="the table's folder")
    parser.add_argument("prompt", help="the text to continue, or with --chat a user's message")
    parser.add_argument("--chat", action="store_true", help="ask in a chat")
    parser.add_argument(
        "--max-new-tokens", type=int, default=32, metavar="N", help="at most (default: 32)"
    )
    parser.add_argument(
        "--whole", action="store_true", help="print all tokens, not only the first sentence"
    )
    parser.add_argument("--no-table", action="store_true", help="ask the bare model")
    _add_model(parser, "the table's own")
    parser.set_defaults(run=table_commands.ask, parser=parser)


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "explain",
        help="show which rows of a table a text fires, and what they change",
        description="Show at which tokens of a text a row of a table is read, which fact it belongs"
        " to, how much it adds, and which next tokens it makes likely.",
    )
    parser.add_argument("folder", type=Path, help="the table's folder")
    parser.add_argument("prompt", help="the text to read, or with --chat a user's message")
    parser.add_argument("--chat", action="store_true", help="read it as a message in a chat")
    parser.add_argument(
        "--top", type=int, default=5, metavar="N", help="next tokens to compare (default: 5)"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="save a picture, tokens × layers (.png, .svg)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    _add_model(parser, "the table's own")
    parser.set_defaults(run=table_commands.explain, parser=parser)


def _add_model(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL if default is None else None,
        metavar="ID_OR_PATH",
        help=f"Hub id or folder (default: {default or DEFAULT_MODEL})",
    )


def _demo(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    # Imported here because it needs packages that only the extra "demo" brings.
    for package in ("rich", "peft"):
        require_package(package, "demo", "The demo")
    from engram_transformers import demo_command

    return demo_command.run(arguments, parser)
