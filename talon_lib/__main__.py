"""``python -m talon_lib`` is ``talon-dse``."""

from talon_lib.cli import main

main()
