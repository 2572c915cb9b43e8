"""The statements that the gate sends."""

from pathlib import Path
from typing import Any

import aiosql

statements: Any = aiosql.from_path(Path(__file__).parent, "psycopg", attribute=None)
