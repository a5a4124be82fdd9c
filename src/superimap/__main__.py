"""`python -m superimap` is `superimap`."""

from superimap.cli import main

main()
