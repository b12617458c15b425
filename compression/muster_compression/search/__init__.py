"""Search: a recipe's free parameters span a space; a budget is spent on it, and the frontier is kept.

In scope: the space, who proposes the next point, the log that a search resumes from, what is kept and why the rest is
not. Not in scope: how a variant is made and judged (the runner), what devices measure (they decide later).
"""
