"""The contract between controller, agent and apps.

In scope: the messages (``v1/*.proto``), their frozen dataclasses (``model``), the two-way codec, id grammar,
the error tree and the bytes that signatures cover. Not in scope: I/O, cryptography, any rule of what a message means.
"""
