"""Print the shell code that completes commands, options, choices, option names of --set, and files.

Needs argcomplete (apt install python3-argcomplete, or pip install argcomplete). Put the line into ~/.bashrc to keep it.

examples:
  eval "$(aenet completion bash)"
  aenet completion zsh >> ~/.zshrc
  aenet completion fish > ~/.config/fish/completions/aenet.fish
"""

import argparse

from aenet_ros.core.errors import MissingDependencyError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")


def run(args: argparse.Namespace) -> int:
    """Print; 0."""
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError as error:
        raise MissingDependencyError("completion needs argcomplete: apt install python3-argcomplete, or pip install argcomplete") from error
    print(shellcode(["aenet"], shell=args.shell))
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell, which asks by environment variables, and exit; do nothing without argcomplete."""
    try:
        from argcomplete import autocomplete
    except ImportError:
        return
    autocomplete(parser)
