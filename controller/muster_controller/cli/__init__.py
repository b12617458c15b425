"""The command line: a thin layer over the Python API, and ``muster up``, which wires the controller together.

In scope: arguments, tables, progress, exit codes. Not in scope: anything that a program would also want; that lives in
``muster``, the Python API.
"""
