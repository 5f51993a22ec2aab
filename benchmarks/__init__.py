"""Weft against its peers: the same workloads, each peer in an environment of its own, one table of ratios.

In the order in which they are used: ``workloads`` (what is measured), ``environments`` (where), ``peers/`` (each
workload as a user of that library would write it), ``worker`` (the timing loop inside a peer's process), ``race``
(who runs when), ``report`` (the table). ``models/`` has whole networks, for a table of their own.
``python -m benchmarks --help`` has the options.
"""
