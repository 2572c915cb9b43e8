"""The page templates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def templates(*folders: Path) -> Environment:
    """Return the templates of these folders, which may extend those of the review pages."""
    loader = FileSystemLoader([*folders, Path(__file__).parent / "templates"])
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["number"] = lambda value: f"{value:,.0f}"
    return made


_templates = templates()


def render(template: str, shared: Mapping[str, Any], **values: Any) -> str:
    """Render a review page with the values that all pages share and with its own."""
    return _templates.get_template(template).render(**shared, **values)
