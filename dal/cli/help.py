"""Help texts as people read them, where typer shows something else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from typer.core import TyperGroup


def below(group: TyperGroup) -> Iterator[Any]:
    """Yield the commands of a group, and those of its groups."""
    for command in group.commands.values():
        yield command
        if isinstance(command, TyperGroup):
            yield from below(command)


def improve(command: Any) -> None:
    """Join the lines of a command's help, so that the terminal wraps them, and hide Python types and None."""
    command.help = unwrapped(command.help or "")
    get_params = command.get_params

    def without_types(context: Any) -> Any:
        parameters = get_params(context)
        for parameter in parameters:
            parameter.show_default = parameter.show_default and parameter.default is not None
            if parameter.param_type_name == "argument" or parameter.is_flag:
                # Recent versions of typer show <str> after an argument, and <bool> after a flag.
                vars(parameter)["display_type_rich"] = _no_type
        return parameters

    vars(command)["get_params"] = without_types


def unwrapped(text: str) -> str:
    """Return a text with a line for each paragraph and each example; one that begins with a backspace stays."""
    return "\n\n".join(map(_unwrapped, text.split("\n\n")))


def _unwrapped(paragraph: str) -> str:
    if paragraph.startswith("\b"):
        return paragraph
    line = re.sub(r"\s*\n\s*", " ", paragraph)
    return re.sub(r",? \[bold\]", "\n- [bold]", line) if line.startswith("Example") else line


def _no_type(**_context: Any) -> None:
    """Return no type."""
