"""`python -m proxy.cli`: the command where it is not installed."""

from proxy.cli import main

main()
