"""What each service does once in a process: done, when this is imported, before the fork.

Nothing here opens a file, a connection or a thread that lasts.
"""

from __future__ import annotations

import gc

from service_runtime import settings
from status_service.http_api.rules import packaged_rules

settings.sections()
packaged_rules()
# A collection in a child would copy the memory of all that was imported.
gc.collect()
gc.freeze()
