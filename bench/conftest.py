pytest_plugins = ["servers", "report", "field", "many"]
