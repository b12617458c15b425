"""The serving child: one long-lived process per model, and the same engine for ``muster.Serving`` inside an app.

In scope: loading and self-testing rungs, the queue and the one inference thread under the guard, the Open Inference
Protocol v2 over HTTP and gRPC, the link to the agent's local socket. Not in scope: choosing the ladder (the
controller), verifying artifacts and starting this process (the daemon), the rule itself (``core/guard.py``).
"""
