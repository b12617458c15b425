"""What a child can be told to do. Child side; each command takes the spec and a ``send`` and returns its result."""
