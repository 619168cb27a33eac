"""`python -m app` is the `coalition` command."""

import sys

try:
    from app.cli import main

    main()
except KeyboardInterrupt:  # also while it is still starting
    sys.exit(130)
