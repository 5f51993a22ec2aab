"""Kernels on NVIDIA GPUs. Read first: render.py, whose docstring has the ABI and how kernels lie on threads; then
frame.py (threads, shared memory, barriers)."""
