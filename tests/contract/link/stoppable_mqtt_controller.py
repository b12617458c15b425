"""A controller's MQTT end in a process of its own, so that a test can stop or kill it: says when it is up, then runs.

stoppable_mqtt_controller.py PORT FOLDER: FOLDER holds {ca,cert,key}.pem of the controller and a certificate of pi-1.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from muster_controller.adapters.link_mqtt import LinkOptions, MqttLink
from muster_controller.testing_link import CertificateBook, RecordingSink
from muster_protos.credentials import Credentials


async def main(port: int, folder: Path) -> None:
    book = CertificateBook()
    book.admit((folder / "pi-1.pem").read_bytes(), "pi-1")
    own = Credentials(*((folder / f"{name}.pem").read_bytes() for name in ("ca", "cert", "key")))
    sink = RecordingSink()
    sink.artifacts["a" * 64] = (bytes(16 * 1024 * 1024), frozenset({"pi-1"}))
    options = LinkOptions(keepalive_s=1, retry_base_s=0.05, retry_cap_s=0.2)
    await MqttLink(sink, book, "lab", "127.0.0.1", port, lambda: own, options).start()
    print("up", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
