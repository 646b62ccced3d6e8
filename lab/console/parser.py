"""The parser of every command: what all of them take, how one refuses, and what its help adds."""

import argparse
import importlib.metadata
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from lab.console.printing import QUIET, VERBOSE, print, printable, set_verbosity
from lab.errors import nearest
from lab.settings.synonyms import meant

_UNKNOWN, _NO_CHOICE = "unrecognized arguments: ", r"argument (.+): invalid choice: '(.*)' \(choose from (.+)\)"
_NO_NUMBER, _NO_VALUE = r"argument (.+): invalid (int|float) value: (.*)", r"argument (.+): expected one argument"
_NUMBERS = {"int": "a whole number", "float": "a number"}
SHELLS = ("bash", "zsh", "tcsh")


class Settings:
    """What `section.key=value` may name, for the help and for hints."""

    def names(self, given: Sequence[str]) -> Iterable[str]:
        """Dotted names, for these arguments of the command line."""
        return ()

    def lines(self, given: Sequence[str]) -> list[str]:
        """A line a setting."""
        return []


class Parser(argparse.ArgumentParser):
    """Python's own, which refuses in one sentence with the nearest name, and has what every command takes: --quiet,
    --verbose, --version, --print-completion, and settings by section in the help (`settings`)."""

    def __init__(self, *args: Any, add_help: bool = True, **kwargs: Any):
        super().__init__(*args, **{**kwargs, "add_help": False})
        self.settings = Settings()
        self.completes: dict[str, Iterable[str]] = {}  # what a shell offers for an argument, by its `dest`
        self._given: list[str] = []
        if add_help:
            add = self.add_argument
            add("-h", "--help", action=_Help, help="show this, and the settings with their defaults, and end")
            add("-q", "--quiet", action=_Say, const=QUIET, help="say results, warnings and errors alone")
            add("-v", "--verbose", action=_Say, const=VERBOSE, help="say more: the log, and where an error is from")
            add("--version", action=_Version, help="show the project's version and commit, and end")
            add("--print-completion", action=_Completion, choices=SHELLS, metavar="SHELL",
                help=f"print what completes this command in {', '.join(SHELLS)}, and end")  # fmt: skip

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """One sentence, and where to read on."""
        print(f"error: {self._sentence(message)}", file=sys.stderr)
        print(f"what there is: {self.prog} --help", file=sys.stderr)
        sys.exit(2)

    def _sentence(self, message: str) -> str:
        """Python's own, with what was meant."""
        if message.startswith(_UNKNOWN):
            first = message.removeprefix(_UNKNOWN).split(" ")[0]
            name = first.partition("=")[0]
            if not name.startswith("-"):
                return message
            options = [each for each in self._option_string_actions if each.startswith("--")]
            settings = [] if meant(name, options) else meant(name, self.settings.names(self._given))
            if settings:  # that no option stands for
                said = " or ".join(f"{each}=VALUE" for each in settings)
                return f"{message}; did you mean {said}, without dashes?"
            if hint := nearest(name.strip("-"), [each.removeprefix("--") for each in options]):
                hint = re.sub(r"'([\w-]+)'", r"'--\1'", hint)
            return message + hint
        if choice := re.fullmatch(_NO_CHOICE, message):
            name, got, allowed = choice.groups()
            names = [each.strip(" '") for each in allowed.split(",")]
            return f"{name}: got '{got}'; allowed: {', '.join(names)}{nearest(got, names)}"
        if number := re.fullmatch(_NO_NUMBER, message):
            return f"{number[1]}: got {number[3]}; {_NUMBERS[number[2]]} is needed"
        if value := re.fullmatch(_NO_VALUE, message):
            return f"{value[1]}: a value is needed after it"
        return message.removeprefix("argument ").replace(", section.key=value", "")  # there may be none

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(printable(message), file)


class _Help(argparse.Action):
    def __init__(self, option_strings: Any, dest: str, help: str | None = None):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: Any, *args: Any) -> None:
        parser.print_help()
        if lines := parser.settings.lines(parser._given):
            print("\n" + "\n".join(lines))
        parser.exit()


class _Say(argparse.Action):
    def __init__(self, option_strings: Any, dest: str, const: int, help: str | None = None):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, const=const, default=argparse.SUPPRESS, help=help)

    def __call__(self, *args: Any) -> None:
        set_verbosity(self.const)


class _Version(argparse.Action):
    def __init__(self, option_strings: Any, dest: str, help: str | None = None):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        from lab.provenance import version_text  # asks git

        print(version_text())
        parser.exit()


class _Completion(argparse.Action):
    """A shell's own script, made once: nothing of ours is started while one types."""

    def __call__(self, parser: Any, namespace: Any, shell: Any, *args: Any) -> None:
        try:
            import shtab
        except ImportError:
            parser.error("--print-completion: the package shtab is needed: pip install shtab")
        parser.prog = _installed(parser)
        for action in parser._actions:  # from here on choices complete, and nothing is parsed any more
            action.nargs = getattr(action, "save_nargs", action.nargs)  # of parse_intermixed_args
            if action.dest == "overrides":
                action.choices = [f"{name}=" for name in parser.settings.names(parser._given)]
            elif action.dest in parser.completes:
                action.choices = list(parser.completes[action.dest])
        print(shtab.complete(parser, shell))
        parser.exit()


def _installed(parser: Parser) -> str:
    """The name under which `python -m MODULE` is installed: that alone a shell completes."""
    typed, module = os.path.basename(sys.argv[0]), parser.prog.removeprefix("python -m ")
    if not typed.endswith(".py"):
        return typed
    last = module.rpartition(".")[2]
    scripts = importlib.metadata.entry_points(group="console_scripts")
    for each in scripts:  # the lab's own commands are installed by who stands in front of them
        if each.module == module or (module.startswith("lab.") and each.name.endswith(f"-{last}")):
            return each.name
    parser.error(f"--print-completion: {parser.prog} is installed under no name of its own, which a shell needs")
