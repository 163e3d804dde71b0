"""`python -m temporal_attr.cli`."""

import sys

from temporal_attr.cli import main

sys.exit(main())
