import pytest

pytest_plugins = ["time_limit", "servers", "report", "field", "many"]


def pytest_itemcollected(item):
    item.add_marker(pytest.mark.time_limit(900))
