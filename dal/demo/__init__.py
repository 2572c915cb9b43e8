"""`dal demo`: run three common tasks both ways, with the usual SQL and with session-dal, and compare the costs."""
