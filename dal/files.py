"""The paths of the SQL files: beside the package in a checkout, inside it in a wheel."""

from pathlib import Path

_INSTALLED = Path(__file__).parent / "sql"
_ROOT = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parent.parent

QUERIES = _ROOT / "queries"
SCHEMA = _ROOT / "schema.sql"
