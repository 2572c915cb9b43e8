"""A known-bad version of one of our queries, or of the schema."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Canary:
    """Changes to a query file or to the schema, and the promise that they break."""

    query: str
    breaks: str
    """The promise, with * for a figure."""
    edits: tuple[tuple[str, str], ...] = ()
    """Replacements in the query file: old and new text."""
    schema: str = ""
    """SQL that is run after schema.sql."""
    rerun: str = ""
    """A statement that is sent after the query, as a loop in a service would."""
    plan: str = ""
    """The plan that breaks the promise, if only one of the two does."""
    quick: bool = False
    """Whether small sizes are enough to see it."""
    axis: str = ""
    """The axis to measure along, if the broken promise names none."""


def quick(query: str, breaks: str, *edits: tuple[str, str], schema: str = "") -> Canary:
    """Return a canary for which small sizes are enough."""
    return Canary(query, breaks, edits, schema, quick=True)
