"""Graph: values and nodes, printer, verifier, passes, and lowering to kernels. It knows the protocol that an op meets
(:mod:`weft.graph.protocol`), no op by name."""
