"""`python -m strait_cli` is `strait`."""

from __future__ import annotations

import sys

from strait_cli.main import main

sys.exit(main())
