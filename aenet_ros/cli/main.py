"""The command line ``aenet``: its subcommands and exit statuses.

Each subcommand is a module of ``aenet_ros.cli``: its docstring (the first line is the help), ``add_arguments`` and ``run``.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType, ModuleType

from aenet_ros import __version__
from aenet_ros.core.errors import AenetError, similar

GROUPS = {
    "everyday commands": ("demo", "fuse", "inspect", "view", "calibrate", "why", "doctor", "completion"),
    "workbench commands": ("evaluate", "bench", "train", "export", "study"),
}
COMMANDS = tuple(name for names in GROUPS.values() for name in names)

INTERRUPTED, TERMINATED = 130, 143

DESCRIPTION = "Fuse a robot's thermal and RGB cameras into one picture: live in ROS 2, and here for files, bags, measuring and training."

EPILOG = """examples:
  aenet demo                               a simulated rig and the real node for 10 s; pictures in demo_out/
  aenet fuse thermal/ rgb/ -o fused/       folders whose file names match; also single pictures, videos, bags
  aenet inspect drive.mcap                 what a bag holds and what would be paired
  aenet view                               show a robot in a web page; or a bag: aenet view drive.mcap
  aenet calibrate drive.mcap -o rig.yaml   registration of the two cameras, from any scene
  aenet why BAG                            why a node's black box was written
  aenet doctor                             what is installed, what is missing, and the remedy
  aenet evaluate thermal/ rgb/             measure the quality of fused pictures
  aenet train --help                       weights from your own pairs
  eval "$(aenet completion bash)"          the Tab key completes commands and options

exit status:
  0    done
  1    failed; stderr says why and what to do (--debug shows the traceback)
  2    the command line itself is wrong
  130  stopped with Ctrl-C, no partial files are left (143: by SIGTERM)

'aenet COMMAND --help' tells more about each."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; ``argv`` is without the program's name, and empty for the help. Returns the exit status (see EPILOG)."""
    words = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for completions
        from aenet_ros.cli.completion import complete

        complete(_parser(load(COMMANDS)))
    # Load only the command that was asked for; help and usage errors need all of them.
    modules = load(words[:1] if words and words[0] in COMMANDS else COMMANDS)
    args = _parse(_parser(modules), words)
    try:
        with _terminate_like_interrupt():
            return int(modules[args.command].run(args))
    except (AenetError, ModuleNotFoundError, KeyboardInterrupt) as error:
        if args.debug:
            raise
        text, status = _failure(error)
        print(f"aenet {args.command}: {text}", file=sys.stderr)
        return status
    except BrokenPipeError:
        # The reader of our output (head, less) is gone. Without this Python fails again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def load(names: Sequence[str]) -> dict[str, ModuleType]:
    """The modules of subcommands by name."""
    return {name: import_module(f"aenet_ros.cli.{name}") for name in names}


def _parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The arguments; a wrong command line ends the program with status 2 and the nearest name."""
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        parser.error(f"there is no command '{words[0]}'{similar(words[0], COMMANDS)}; 'aenet --help' lists them")
    args, unknown = parser.parse_known_args(words)
    if unknown:
        commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        command: argparse.ArgumentParser = commands.choices[args.command]
        options = [option for action in command._actions for option in action.option_strings]
        hints = [word + (similar(word.partition("=")[0], options) if word.startswith("-") else "") for word in unknown]
        command.error(f"unrecognized arguments: {' '.join(hints)}")
    return args


def _failure(error: BaseException) -> tuple[str, int]:
    """What to print, and the exit status."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", TERMINATED if isinstance(error, _Terminated) else INTERRUPTED
    if isinstance(error, ModuleNotFoundError):
        return f"the Python package '{error.name}' is not installed; 'aenet doctor' says how to get it", 1
    return str(error), 1


def _parser(modules: dict[str, ModuleType]) -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    usage = "aenet [-h] [--version] COMMAND ..."
    parser = argparse.ArgumentParser(prog="aenet", usage=usage, description=DESCRIPTION, epilog=EPILOG, formatter_class=formatter)
    parser.add_argument("--version", action="version", version=f"aenet {__version__}")
    # argparse lists all subcommands as one group, so they are listed here.
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, prog="aenet", help=argparse.SUPPRESS)
    texts = {name: (module.__doc__ or name).strip() for name, module in modules.items()}
    for title, names in GROUPS.items():
        rows = [f"{name:<12}{_first_line(texts[name])}" for name in names if name in texts]
        parser.add_argument_group(title, "\n".join(rows))
    for name, module in modules.items():
        command = commands.add_parser(name, help=_first_line(texts[name]), description=texts[name], formatter_class=formatter)
        module.add_arguments(command)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _first_line(text: str) -> str:
    return text[:1].lower() + text.splitlines()[0][1:].rstrip(".")


class _Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C."""


@contextmanager
def _terminate_like_interrupt() -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
