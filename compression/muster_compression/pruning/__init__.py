"""Structured and magnitude pruning of torch modules.

In scope: which channels and heads hang together, how much each matters, taking them out, masks, narrow students.
Not in scope: training (``muster_compression.training``), recipes, gates, files.
"""
