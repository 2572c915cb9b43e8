"""A known-bad version of one of our queries, or of the schema."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Canary:
    """What is changed in a query's file or in the schema, and the promise that breaks by it."""

    query: str
    breaks: str
    """The promise, with * for a figure."""
    edits: tuple[tuple[str, str], ...] = ()
    """What is replaced in the query's file, and by what."""
    schema: str = ""
    """Run after schema.sql."""
    rerun: str = ""
    """Sent after the query, as a loop in a service would."""
    plan: str = ""
    """The only plan with which it breaks it, if it is not both."""
    quick: bool = False
    """It shows at small sizes too."""
    along: str = ""
    """The axis in which it is measured, if that is not in the promise that it breaks."""


def quick(query: str, breaks: str, *edits: tuple[str, str], schema: str = "") -> Canary:
    """A canary that shows at small sizes too."""
    return Canary(query, breaks, edits, schema, quick=True)
