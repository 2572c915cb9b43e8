import pytest

pytest_plugins = ["time_limit", "servers", "report", "field", "many"]


def pytest_xdist_auto_num_workers():
    """Compare times in one process, with nothing beside it."""
    return 0


def pytest_itemcollected(item):
    item.add_marker(pytest.mark.time_limit(900))
