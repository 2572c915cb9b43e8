"""Directives for the parts of the site that are generated: the command line, header words, tables, and repository pages.

Each writes Markdown, which Sphinx reads in place of the directive.
"""

import re
import typing
from itertools import groupby
from pathlib import Path

import click
import dal
import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]


class _Markdown(SphinxDirective):
    """A directive whose content is Markdown that it makes."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the Markdown here."""
        return self.parse_text_to_nodes(self.markdown(), allow_section_headings=True)

    def markdown(self) -> str:
        """Return the text."""
        raise NotImplementedError


class Commands(_Markdown):
    """Every command, as its help describes it."""

    def markdown(self) -> str:
        """Return a section for each command."""
        from dal.cli.app import app  # noqa: PLC0415 - needs an extra

        return "\n\n".join(_command(typer.main.get_command(app), "dal"))


def _command(command: click.Command, path: str) -> typing.Iterator[str]:
    if isinstance(command, click.Group) and path != "dal":
        yield from (part for name, one in command.commands.items() for part in _command(one, f"{path} {name}"))
        return
    yield f"## `{path}`" if path != "dal" else "## Options of every command"
    if not isinstance(command, click.Group):
        yield _plain(command.help or "")
    options = [one for one in command.params if not getattr(one, "hidden", False)]
    if options:
        yield "\n".join(["| | |", "|---|---|", *map(_option, options)])
    if isinstance(command, click.Group):
        yield from (part for name, one in command.commands.items() for part in _command(one, f"{path} {name}"))


def _option(option: click.Parameter) -> str:
    if isinstance(option, click.Argument):
        names = f"`{option.metavar or option.human_readable_name}`"
    else:
        metavar = "" if getattr(option, "is_flag", False) else f" {option.metavar or _kind(option)}"
        names = ", ".join(f"`{name}{metavar}`" for name in (*option.opts, *option.secondary_opts))
    variables = option.envvar if isinstance(option.envvar, list) else [option.envvar] if option.envvar else []
    environment = "".join(f" Environment variable: `{one}`." for one in variables)
    return f"| {names} | {_plain(getattr(option, 'help', '') or '')}{environment} |".replace("|Path", "")


def _kind(option: click.Parameter) -> str:
    if choices := getattr(option.type, "choices", None):
        return "\\|".join(str(getattr(one, "value", one)) for one in choices)
    return {"integer": "N", "path": "PATH", "file": "PATH", "directory": "DIR"}.get(option.type.name, "TEXT")


def _plain(text: str) -> str:
    """Return a help text in Markdown: Rich's bold is a command, and dim is nothing."""
    text = re.sub(r"\[bold\](.*?)\[/bold\]", r"`\1`", text)
    return re.sub(r"\[/?dim\]|\x08\n?", "", text)


class Header(_Markdown):
    """The header lines of a query file, and the words that each accepts, from the parser's own table."""

    def markdown(self) -> str:
        """Return a section for each line, and one for each word that is not free."""
        from dal.measure.grammar import LINES, OPTIONAL, WORDS  # noqa: PLC0415 - the gate moves as a whole

        parts = []
        for label, forms in LINES.items():
            required = "Optional." if label in OPTIONAL else "Required."
            parts += [f"### `{label}:`", required, "\n".join(f"- `{form.text}`" for form in forms)]
        parts.append("### Words")
        for word, (_, accepted) in WORDS.items():
            if accepted:
                parts.append(f"`<{word}>`\n: {', '.join(f'`{one}`' for one in accepted)}")
        return "\n\n".join(parts)


class Tables(_Markdown):
    """Every table: its columns with their comments, its constraints and its indexes, as schema.sql makes them."""

    def markdown(self) -> str:
        """Return a section for each table."""
        lines = (ROOT / "dal/tables.tsv").read_text(encoding="utf-8").splitlines()
        facts = [line.split("\t") for line in lines]
        return "\n\n".join(_table(name, list(rows)) for name, rows in groupby(facts, key=lambda fact: fact[0]))


def _table(name: str, facts: list[list[str]]) -> str:
    comments = _comments()
    columns = {column: kind for _, kind_of, column, kind in facts if kind_of == "column"}
    parts = [f"## `{name}`", comments[name], "| column | type | |\n|---|---|---|"]
    order = [column for column in comments if column.startswith(f"{name}.")]
    for column in order:
        short = column.removeprefix(f"{name}.")
        parts[-1] += f"\n| `{short}` | `{_short(columns[short])}` | {comments[column]} |"
    rest = [(kind, item, definition) for _, kind, item, definition in facts if kind in {"constraint", "index"}]
    parts.append("| constraint or index | |\n|---|---|")
    parts[-1] += "".join(f"\n| `{item}` | `{definition.replace('|', '&#124;')}` |" for _, item, definition in rest)
    return "\n\n".join(parts)


def _short(definition: str) -> str:
    return definition.replace("timestamp with time zone", "timestamptz").replace(' COLLATE "C"', "")


def _comments() -> dict[str, str]:
    """Return the comments of schema.sql, by `table` or `table.column`."""
    text = (ROOT / "schema.sql").read_text(encoding="utf-8")
    found = re.findall(r"^COMMENT ON (?:TABLE|COLUMN) (\S+) IS '((?:[^']|'')*)';", text, re.MULTILINE)
    return {name: comment.replace("''", "'") for name, comment in found}


class Page(_Markdown):
    """A page of the repository's top folder, with its links pointed at the repository or the site."""

    def markdown(self) -> str:
        """Return the page."""
        text = (ROOT / self.arguments[0]).read_text(encoding="utf-8")
        self.env.note_dependency(str(ROOT / self.arguments[0]))
        text = re.sub(r"\]\((?!https?:|#|docs/)", f"]({self.config.repository}/blob/main/", text)
        return text.replace("](docs/", "](")


def _public_names(_app: Sphinx, _what: str, _name: str, _one: object, _options: object, args: str, returned: str) -> tuple:
    """Show types by the names that users import."""
    return tuple(text and _public(text) for text in (args, returned))


def _public(text: str) -> str:
    def name(found: re.Match[str]) -> str:
        return f"dal.{found[1]}" if found[1] in dal.__all__ else found[0]

    return re.sub(r"(?:\bdal(?:\.\w+)*\.|\bvalidate\.)(\w+)", name, text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    for name, directive in {"commands": Commands, "header": Header, "tables": Tables, "page": Page}.items():
        app.add_directive(name, directive)
    app.connect("autodoc-process-signature", _public_names)
    return {"parallel_read_safe": True}
