"""Compiler: scalar expressions, kernels, vector math, and code generation. It knows nothing of Tensor or Graph."""
