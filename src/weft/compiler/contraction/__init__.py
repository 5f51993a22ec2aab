"""Contractions on CPUs. Read first: render.py, whose docstring has the meaning and how a unit runs; then tile.py (what
is in registers), pack.py (copies of operands), vector.py (products with a vector), plan.py (the cut into units)."""
