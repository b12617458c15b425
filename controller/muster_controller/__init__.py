"""The controller: it keeps the fleet's models, results and decisions, and says what each device should be.

In scope: the pure rules (``core``), what they need from outside (``ports``), stores, links and identity (``adapters``),
the service that joins them, REST (``web``) and the command line (``cli``).
Not in scope: running or measuring a model (the devices do), making variants (``muster_compression`` does).
"""
