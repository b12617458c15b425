"""What the controller does, one noun per file: synchronous, thread-safe, over the ports.

In scope: use cases, their order and what they leave behind in the store.
Not in scope: how bytes travel (adapters), how people ask (web, cli), the rules themselves (core).
"""
