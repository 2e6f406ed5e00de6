"""The `onoma` command line: finds its commands through the entry-point group `onoma.commands`.

Each package brings its own commands, so onoma/ needs to know none of them, and a serving install shows what it lacks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from onoma import __version__
from onoma.errors import OnomaError


@dataclass(frozen=True, slots=True)
class Command:
    """A sub-command. `run` returns the exit status; heavy imports belong inside it, so that --help stays quick."""

    name: str
    help: str
    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def names(value: str) -> list[str]:
    """Argument type: names between commas; spaces around them and empty ones do not count."""
    return [name for part in value.split(",") if (name := part.strip())]


def build_parser() -> argparse.ArgumentParser:
    """The parser with every installed command; those that do not import are listed with what they need."""
    parser = argparse.ArgumentParser(prog="onoma", description="Multilingual named entity recognition, distilled.")
    parser.add_argument("--version", action="version", version=f"onoma {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for entry in sorted(entry_points(group="onoma.commands"), key=lambda point: point.name):
        try:
            command: Command = entry.load()
        except (ImportError, AttributeError) as error:
            needs = _needs(entry)
            # Nothing looks like an option here: whatever follows the name, the answer is what the command needs.
            sub = commands.add_parser(entry.name, help=needs, add_help=False, prefix_chars="\0")
            sub.add_argument("ignored", nargs="*")
            sub.set_defaults(run=_unavailable(entry.name, needs, error))
            continue
        sub = commands.add_parser(
            command.name,
            help=command.help,
            description=command.description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def _needs(entry: EntryPoint) -> str:
    """What to install for a command whose module does not import: packages and extras share their names."""
    package = entry.module.partition(".")[0]
    extras = entry.dist.metadata.get_all("Provides-Extra", []) if entry.dist else []
    return f"(needs extra {package}: pip install 'onoma[{package}]')" if package in extras else "(not available)"


def _unavailable(name: str, needs: str, error: Exception) -> Callable[[argparse.Namespace], int]:
    def run(_: argparse.Namespace) -> int:
        print(f"onoma {name}: {needs} {error}", file=sys.stderr)
        return 2

    return run


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors raised on purpose and missing extras become one line on stderr and exit status 1 or 2."""
    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ModuleNotFoundError as error:
        missing = f"{error.name} is not installed; see the extras in README.md" if error.name is not None else error
        print(f"onoma {arguments.command}: {missing}", file=sys.stderr)
        return 2
    except (OnomaError, FileNotFoundError, ValueError) as error:
        print(f"onoma {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        return 130
