"""What several benchmarks stand on: the machine in words, a real controller as a process, identities for many devices.

In scope: starting, killing and asking the product. Not in scope: the devices (``simulated``), what is measured.
"""
