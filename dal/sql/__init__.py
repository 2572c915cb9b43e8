"""The query files: where they are, the headers that the code needs, and how they are loaded.

The files are beside the package in a checkout, and in this folder in a wheel.
"""

from pathlib import Path

_HERE = Path(__file__).parent
_ROOT = _HERE if (_HERE / "queries").is_dir() else _HERE.parent.parent

QUERIES = _ROOT / "queries"
SCHEMA = _ROOT / "schema.sql"

DISTRIBUTED = _HERE.parent / "schema" / "distributed"
"""The files of the distributed layout. Its folder queries/ has a second form of the query files that need one."""
