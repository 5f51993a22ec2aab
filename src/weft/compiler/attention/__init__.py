"""Attention on CPUs. Read first: render.py, whose docstring has the meaning and how a unit runs; then stages.py (what
is computed of a block of pairs), plan.py (units, and what lies where in the scratch)."""
