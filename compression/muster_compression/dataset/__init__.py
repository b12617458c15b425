"""Data that a user hands in with a model: samples by input name, split into train, validation and test."""
