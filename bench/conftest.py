import pytest

pytest_plugins = ["time_limit", "servers", "report", "variant_tables", "session_lists"]


def pytest_xdist_auto_num_workers():
    """Run in one process, so that nothing else affects the times."""
    return 0


def pytest_itemcollected(item):
    item.add_marker(pytest.mark.time_limit(900))
