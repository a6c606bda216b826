"""`python -m broker.cli` is `keyreeve`."""

from broker.cli import main

main()
