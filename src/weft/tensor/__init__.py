"""Tensor: the value that users hold, how calls of public functions become executables, and the tape."""
