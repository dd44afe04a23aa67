"""`python -m jevons`: the command without its console script, for processes that start each other with the interpreter they run on."""

from jevons.cli.main import main

main()
