"""Three small networks on three small problems; ``python -m demo`` runs them all, in about a minute.

Each file is a program that can be read and run by itself: ``or_gate``, ``iris``, ``digits``.
"""
