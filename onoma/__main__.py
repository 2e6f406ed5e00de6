"""`python -m onoma`: the same as the `onoma` command, for launchers that start modules."""

import sys

from onoma.cli import main

if __name__ == "__main__":
    sys.exit(main())
