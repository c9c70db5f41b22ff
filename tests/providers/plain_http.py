"""What clients of plain HTTP are made with: httpx reads all authorities for each client else."""

from __future__ import annotations

import ssl

#: Trusts nobody, so no client with it speaks TLS.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
