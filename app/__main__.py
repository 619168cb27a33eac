"""`python -m app` is the `coalition` command."""

from app.cli import main

main()
