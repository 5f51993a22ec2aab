"""Ops: every function on tensors, each in one place: what it takes, what it computes, its gradient."""
