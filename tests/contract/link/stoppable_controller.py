"""A controller's gRPC end in a process of its own, so that a test can stop it: prints its port, runs until killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from muster_controller.adapters.identity_x509 import open_authority
from muster_controller.adapters.link_grpc import GrpcLink
from muster_controller.testing_link import CertificateBook, RecordingSink


async def main(folder: Path, certificate: Path) -> None:
    book = CertificateBook()
    book.admit(certificate.read_bytes(), "pi-1")
    link = GrpcLink(RecordingSink(), open_authority(folder, "lab"), book, port=0)
    print(await link.start(), flush=True)
    await asyncio.Event().wait()


asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
