"""`python -m kit VERB`."""

from kit.cli import main

main()
