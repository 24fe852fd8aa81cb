"""HTTP without TLS, for clients of loopback addresses."""

from __future__ import annotations

import ssl
from typing import Final

# Trusts nobody. A client that is given none loads the certificates of the whole world, which costs more than most tests.
NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
