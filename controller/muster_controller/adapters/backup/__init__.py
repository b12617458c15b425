"""A fleet in one file: a tar archive with a manifest, a snapshot of the store, the sealed identity and the artifacts.

In scope: writing and reading the archive, the snapshot, the seal. Not in scope: what a restored fleet has to do
differently (``cli/backup.py``), other stores than SQLite, other artifact stores than the folder.
"""

from muster_controller.adapters.backup.archive import read_archive, write_archive
from muster_controller.adapters.backup.seal import open_seal, seal
from muster_controller.adapters.backup.snapshot import as_one_file, check_store, schema_of, take_snapshot

__all__ = [
    "as_one_file",
    "check_store",
    "open_seal",
    "read_archive",
    "schema_of",
    "seal",
    "take_snapshot",
    "write_archive",
]
