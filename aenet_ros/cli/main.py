"""The command line ``aenet``: its subcommands and exit statuses.

Each subcommand is a module of ``aenet_ros.cli``: its docstring (the first line is the help), ``add_arguments`` and ``run``.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import FrameType, ModuleType

from aenet_ros import __version__
from aenet_ros.core.errors import AenetError

COMMANDS = ("demo", "fuse", "inspect", "view", "calibrate", "evaluate", "bench", "train", "study", "export", "doctor", "completion")

INTERRUPTED, TERMINATED = 130, 143

DESCRIPTION = "Fuse a robot's thermal and RGB cameras into one picture: live in ROS 2, and here for files, bags, measuring and training."

EXAMPLES = {
    "doctor": ("aenet doctor", "what is installed, what is missing, and the remedy"),
    "demo": ("aenet demo", "a simulated rig and the real node for 10 s; pictures in demo_out/"),
    "fuse": ("aenet fuse thermal/ rgb/ -o fused/", "folders whose file names match; also single pictures, videos, bags"),
    "inspect": ("aenet inspect drive.mcap", "what a bag holds and what would be paired"),
    "view": ("aenet view", "show a robot in a web page; or a bag: aenet view drive.mcap"),
    "calibrate": ("aenet calibrate drive.mcap -o rig.yaml", "registration of the two cameras, from any scene"),
    "evaluate": ("aenet evaluate thermal/ rgb/", "measure the quality of fused pictures"),
    "train": ("aenet train --help", "weights from your own pairs"),
    "completion": ('eval "$(aenet completion bash)"', "the Tab key completes commands and options"),
}

EXIT_STATUS = """exit status:
  0    done
  1    failed; stderr says why and what to do (--debug shows the traceback)
  2    the command line itself is wrong
  130  stopped with Ctrl-C, no partial files are left (143: by SIGTERM)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; ``argv`` is without the program's name. Returns the exit status (see EXIT_STATUS)."""
    words = sys.argv[1:] if argv is None else list(argv)
    names = available()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for completions
        from aenet_ros.cli.completion import complete

        complete(_parser(load(names)))
    # Load only the command that was asked for; help and usage errors need all of them.
    modules = load([words[0]] if words and words[0] in names else names)
    args = _parser(modules).parse_args(words)
    try:
        with _terminate_like_interrupt():
            return int(modules[args.command].run(args))
    except AenetError as error:
        if args.debug:
            raise
        print(f"aenet {args.command}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if args.debug:
            raise
        print(
            f"aenet {args.command}: the Python package '{error.name}' is not installed; 'aenet doctor' says how to get it", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt as stop:
        if args.debug:
            raise
        print(f"aenet {args.command}: stopped", file=sys.stderr)
        return TERMINATED if isinstance(stop, _Terminated) else INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) is gone. Without this Python fails again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def available() -> list[str]:
    """The names of the subcommands that this installation has, in the order of COMMANDS."""
    return [name for name in COMMANDS if find_spec(f"aenet_ros.cli.{name}")]


def load(names: Sequence[str]) -> dict[str, ModuleType]:
    """The modules of subcommands by name."""
    return {name: import_module(f"aenet_ros.cli.{name}") for name in names}


def _parser(modules: dict[str, ModuleType]) -> argparse.ArgumentParser:
    shown = [EXAMPLES[name] for name in COMMANDS if name in modules and name in EXAMPLES]
    width = max((len(command) for command, _ in shown), default=0)
    examples = "\n".join(f"  {command:<{width}}   {what}" for command, what in shown)
    parser = argparse.ArgumentParser(
        prog="aenet",
        description=DESCRIPTION,
        epilog=f"examples:\n{examples}\n\n{EXIT_STATUS}\n\n'aenet COMMAND --help' tells more about each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"aenet {__version__}")
    parser.set_defaults(debug=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")
    for name, module in modules.items():
        text = (module.__doc__ or name).strip()
        command = commands.add_parser(
            name,
            help=text[:1].lower() + text.splitlines()[0][1:].rstrip("."),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


class _Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C."""


@contextmanager
def _terminate_like_interrupt() -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
