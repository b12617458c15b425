"""What can be read from and done to a model file without running it."""
