"""Transforms of functions: gradients, and capture into one graph."""
