"""paho without ``urllib.request``, which brings e-mail, HTTP and compression into the agent: a mebibyte for nothing.

paho asks it for the proxies of the environment alone, and our connections open their own sockets. Whoever imports the
real one later gets the real one.
"""

from __future__ import annotations

import sys
import types
import urllib
from typing import Any

_NAME = "urllib.request"


def _stand_in() -> Any:
    module: Any = types.ModuleType(_NAME)
    module.getproxies = dict
    module.proxy_bypass = lambda host: True  # noqa: ARG005 (paho's call)
    return module


if _NAME in sys.modules:
    import paho.mqtt.client as client
else:
    urllib.request = sys.modules[_NAME] = _stand_in()
    try:
        import paho.mqtt.client as client
    finally:
        del sys.modules[_NAME]

__all__ = ["client"]
