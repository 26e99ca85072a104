"""`python -m mar_edge` is `mar-edge`."""

from mar_edge.cli.main import main

main()
