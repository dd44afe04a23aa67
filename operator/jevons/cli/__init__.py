"""The command line: one module per subcommand of `jevons`, see `main.py`."""
