"""`python -m amctc`."""

from amctc.cli import main

main()
