"""The two ways a signal reaches other processes, and what they have in common."""

from __future__ import annotations

from typing import Final

CHANNEL: Final = "strait_signals"
# Seconds before the first and, doubled each time, the later attempts to connect again.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
# The server is asked for a sign of life this often: a pooler or balancer in between keeps dead connections open.
QUIET_SECS: Final = 10.0
