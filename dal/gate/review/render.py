"""The templates, filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_templates = Environment(
    loader=PackageLoader("dal.review"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_templates.filters["number"] = lambda value: f"{value:,.0f}"


def render(template: str, shared: Mapping[str, Any], **values: Any) -> str:
    """A template with what its page shares with others, and with what is its own."""
    return _templates.get_template(template).render(**shared, **values)
