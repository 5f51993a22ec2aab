"""Kernels for NVIDIA GPUs: the same dataclasses, the same order of operations, hence the same bits (docs/numerics.md).

**ABI.** ``.entry kernel(ptr bufs, ptr ints, i64 begin, i64 end, ptr status)``

- ``bufs`` points at an array, in device memory, of device pointers; ``ints`` at an array of int64: as for a CPU;
- units ``begin <= u < end`` are computed: block b of the grid takes units ``begin + b``, and on in steps of the
  grid's size, so any grid does; disjoint ranges may run at the same time;
- ``status`` points at one int64 in device memory, into which status bits are or-ed (atomically);
- the shape of a block is the kernel's: :func:`weft.compiler.renderers.gpu_launch` gives it, with the grid and the
  number of units.

How kernels lie on threads (a unit is one block of threads):

=============  =================================================================================================
Nest           a thread for each element of a unit; with reductions 64 threads, thread t holding partial result t,
               which meet in shared memory and are combined there by the tree of the contract
ColumnReduce   32 columns x 8 threads: thread (c, j) makes partial results j, j + 8, ... of column c
Contraction    a thread for each element of a 16 x 16 piece of the result, with the chains over k of the contract;
               units are these pieces (not the CPU's), and PARTITION ints are not read. Operands come from the
               caches: pieces of A and B in shared memory are for a later version
Sequential     a thread for each inner element, which walks the steps
=============  =================================================================================================

Read first: frame.py (threads, launches, shared memory, barriers); then nest.py. The naive meaning of each family is
that of its CPU renderer.
"""
