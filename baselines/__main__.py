"""`python -m baselines` is the command `taskloom`."""

import sys

from baselines.cli import main

sys.exit(main())
