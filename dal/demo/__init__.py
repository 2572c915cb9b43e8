"""`dal demo`: three common tasks done both ways, with the usual SQL and with session-dal, and a comparison."""
