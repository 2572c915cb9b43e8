"""`python -m dal`, for where the script `dal` is not on the path."""

from dal.cli import main

main()
