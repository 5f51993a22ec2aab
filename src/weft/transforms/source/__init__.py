"""Python's control flow in captured code, from the function's source.

Read in this order: find.py (which functions, and where their source is), exits.py (``return``, ``break``, ``continue``
become flags), liveness.py (which variables are read later), rewrite.py (statements become calls); flow.py (what these
calls do: Python's own, or, where a value decides, a node), branches.py and loops.py (how that node is made), calls.py
(builtins over values), number.py (Python numbers of run time), effects.py (prints, checks).
"""
