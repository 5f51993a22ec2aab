"""Compiler: scalar expressions, kernels, vector math, and code generation. It knows nothing of Tensor or Graph.

Read first: kernels.py (loop nests, and the ABI of their code), expr.py (what is computed at a point), nest.py (how a
family is rendered) with stages.py, lanes.py and emit.py below it. renderers.py is the table of families, build.py the
way to machine code.
"""
