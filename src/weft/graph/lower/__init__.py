"""Lowering: from a simplified graph to launches, by stages in the order in which data meets them."""
