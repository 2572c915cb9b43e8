"""Directives for the generated parts of the site: the command line, header lines, tables, and repository pages.

Each generates Markdown, which Sphinx parses in place of the directive.
"""

import re
from collections.abc import Collection, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import dal
from dal.cli.app import app as cli
from dal.gate.header.grammar import LINES, WORDS, Line

ROOT = Path(__file__).parents[2]


class _Markdown(SphinxDirective):
    """A directive that generates Markdown."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the Markdown here."""
        return self.parse_text_to_nodes(self.markdown(), allow_section_headings=True)

    def markdown(self) -> str:
        """Return the text."""
        raise NotImplementedError


class Commands(_Markdown):
    """Every command, from its help."""

    def markdown(self) -> str:
        """Return a section for each command."""
        app = typer.main.get_command(cli)
        return "\n\n".join(["## Global options", _options(app, ()), *_commands(app, "dal", {*app.params})])


def _commands(group: Any, path: str, shared: Collection[Any]) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}", shared)
        else:
            yield from [f"## `{path} {name}`", _plain(command.help), _options(command, shared)]


def _options(command: Any, shared: Collection[Any]) -> str:
    """Return a table of the options that are not shared by all commands, from what `--help` prints of each."""
    with command.context_class(command) as context:
        options = [one for one in command.get_params(context) if one not in shared and not one.hidden]
        records = [one.get_help_record(context) for one in options if one.name != "help" or not shared]
    return "\n".join(["| option | |", "|---|---|", *(_option(*record) for record in records)]) if records else ""


def _option(names: str, text: str) -> str:
    return f"| `{names}` | {_plain(text)} |"


def _plain(text: str) -> str:
    """Convert a help text to Markdown: Rich's bold becomes code, and dim is dropped."""
    text = text.replace(":\n- ", ":\n\n- ")
    text = re.sub(r"docs/(\w+\.md)", r"[docs/\1](\1)", text)
    text = re.sub(r"\[bold\](.*?)\[/bold\]", r"`\1`", text)
    return re.sub(r"\[/?dim\]|\x08\n?", "", text)


class HeaderLines(_Markdown):
    """The header lines of a query file and the forms of their promises, from the parser's table."""

    def markdown(self) -> str:
        """Return a section for each line."""
        return "\n\n".join(f"### `{word}:`\n\n{_line(word, line)}" for word, line in LINES.items())


def _line(word: str, line: Line) -> str:
    kind = "Required." if line.is_required else "Optional." if line.is_measured else "Optional; not measured."
    parts = [f"{line.meaning[0].upper()}{line.meaning[1:]}. {kind}", f"```sql\n-- {word}: {line.example}\n```"]
    return "\n\n".join([*parts, "\n".join(f"- `{form.text}`" for form in line.forms)])


class HeaderWords(_Markdown):
    """The words that a form accepts, if it accepts only some."""

    def markdown(self) -> str:
        """Return a paragraph for each word."""
        words = {word: accepted for word, (_, accepted) in WORDS.items() if accepted}
        return "\n\n".join(f"`<{word}>`\n: {', '.join(f'`{one}`' for one in words[word])}" for word in words)


_TABLES = ("sessions", "messages", "removed_messages", "changes", "dal_schema")
"""The most interesting table first."""


class Tables(_Markdown):
    """Every table that schema.sql creates: its columns with their comments, its constraints and its indexes."""

    def markdown(self) -> str:
        """Return a section for each table."""
        lines = (ROOT / "dal/schema/tables.tsv").read_text(encoding="utf-8").splitlines()
        facts = sorted((line.split("\t") for line in lines), key=lambda fact: _TABLES.index(fact[0]))
        return "\n\n".join(_table(name, list(rows)) for name, rows in groupby(facts, key=lambda fact: fact[0]))


def _table(name: str, facts: list[list[str]]) -> str:
    comments = _comments()
    columns = {column: kind for _, kind_of, column, kind in facts if kind_of == "column"}
    for _, kind_of, column, domain in facts:
        if kind_of == "domain":
            columns[column] = re.sub(r"^\w+", domain.split()[0], columns[column])
    parts = [f"## `{name}`", comments[name], "| column | | type |\n|---|---|---|"]
    order = [column for column in comments if column.startswith(f"{name}.")]
    for column in order:
        short = column.removeprefix(f"{name}.")
        parts[-1] += f"\n| `{short}` | {comments[column]} | `{_short(columns[short])}` |"
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
    """A page from the top folder of the repository, with its links changed to lead to the repository or the site."""

    def markdown(self) -> str:
        """Return the page."""
        text = (ROOT / self.arguments[0]).read_text(encoding="utf-8")
        self.env.note_dependency(str(ROOT / self.arguments[0]))
        text = re.sub(r"\]\((?!https?:|#|docs/)", f"]({self.config.repository}/blob/main/", text)
        return text.replace("](docs/", "](")


def _public_names(
    _app: Sphinx, _what: str, _name: str, _one: object, _options: object, args: str, returned: str
) -> tuple:
    """Show types under the names that users import."""
    return tuple(text and _public(text) for text in (args, returned))


def _public(text: str) -> str:
    def name(found: re.Match[str]) -> str:
        return f"dal.{found[1]}" if found[1] in dal.__all__ else found[0]

    text = re.sub(r"TypeAliasForwardRef\('([\w.]+)'\)", r"\1", text)
    text = re.sub(r"psycopg_pool\.\w+\.", "psycopg_pool.", text)
    return re.sub(r"(?:\bdal(?:\.\w+)*\.|\bvalidate\.)(\w+)", name, text)


def _link_pages(_app: Sphinx, _what: str, _name: str, _one: object, _options: object, lines: list[str]) -> None:
    """Turn the name of a page in a docstring into a link."""
    lines[:] = [re.sub(r"docs/([\w/]+)\.md", r":doc:`/\1`", line) for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    directives = {
        "commands": Commands,
        "header-lines": HeaderLines,
        "header-words": HeaderWords,
        "page": Page,
        "tables": Tables,
    }
    for name, directive in directives.items():
        app.add_directive(name, directive)
    app.connect("autodoc-process-signature", _public_names)
    app.connect("autodoc-process-docstring", _link_pages)
    return {"parallel_read_safe": True}
