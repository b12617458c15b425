"""Passes: each takes a model and its settings and gives a changed model and a record of what it did."""
