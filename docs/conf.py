"""Sphinx's configuration. CONTRIBUTING.md says how to build the site."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.append(str(Path(__file__).parent / "_extensions"))

_metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "session-dal"
author = "The session-dal maintainers"
copyright = author  # noqa: A001 - Sphinx's name
version = release = _metadata["version"]
repository = _metadata["urls"]["Source"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinx_copybutton", "generated", "links"]
exclude_patterns = ["_build"]

nitpicky = True  # A name that leads nowhere is a warning, and a warning fails the build.
nitpick_ignore_regex = [("py:class", r"opentelemetry\..*|dal\.gate\.wire\.Wire")]  # Not documented here.

myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 4

default_role = "code"  # Docstrings use single backticks, as Markdown does.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
autodoc_type_aliases = {
    "Hook": "dal.Hook",
    "Metadata": "dal.Metadata",
    "Status": "dal.Status",
    "validate.Sanitize": "dal.Sanitize",
}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

# The inventory is written from external.txt, so that a build needs no network and does not change with other projects.
intersphinx_mapping = {
    name: (url, str(ROOT / f"docs/_build/{name}.inv"))
    for name, url in {
        "python": "https://docs.python.org/3/",
        "psycopg": "https://www.psycopg.org/psycopg3/docs/",
    }.items()
}

linkcheck_anchors = False  # GitHub draws its headings with JavaScript.

html_theme = "furo"
html_title = "session-dal"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_theme_options = {
    "source_repository": repository,
    "source_branch": "main",
    "source_directory": "docs/",
    "light_css_variables": {"color-brand-primary": "#2456a6", "color-brand-content": "#2456a6"},
    "dark_css_variables": {"color-brand-primary": "#7fb0ff", "color-brand-content": "#7fb0ff"},
}
copybutton_exclude = ".linenos, .gp, .go"
