import os

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["time_limit", "skips", "servers", "browser", "reviewed", "faults.plugin"]

# CI uses the profile "short"; choose another by --hypothesis-profile=thorough or brief.
settings.register_profile(
    "short", max_examples=150, stateful_step_count=50, deadline=None, database=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
settings.register_profile("thorough", settings.get_profile("short"), max_examples=2000, stateful_step_count=100)
settings.register_profile("brief", settings.get_profile("short"), max_examples=50)
settings.load_profile("short")


def pytest_xdist_auto_num_workers(config):
    """Run the whole suite on every core, each with its own server; run a part of it in this process."""
    return os.cpu_count() if _is_whole(config) else 0


def pytest_report_header(config):
    return "the whole suite takes about 20 minutes on two idle cores" if _is_whole(config) else None


def _is_whole(config):
    return config.args_source == pytest.Config.ArgsSource.TESTPATHS and not config.option.keyword
