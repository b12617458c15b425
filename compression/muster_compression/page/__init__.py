"""The report: one HTML page that needs no network and no JavaScript.

In scope: from a ``Run`` to text. Not in scope: what a run found (``run_file``), files. Everything that comes from
outside (names, reasons, paths, notes) goes through ``markup``, which escapes it.
"""
