"""The agent: makes one device what its signed desired state says, and reports what it is.

In scope: the reconcile loop, the artifact cache, durable state, links to the controller, the processes that serve and
measure. Not in scope: inference itself (only child processes load a runtime), deciding what to serve (the controller).
"""
