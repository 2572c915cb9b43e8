pytest_plugins = ["servers", "browser", "reviewed"]
