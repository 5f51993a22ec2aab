"""Runtime: memory, threads, and the programs that run on them.

- ``native/``: all of the below that must be fast, as one module of LLVM IR text;
- ``storage.py``: :class:`Storage`, an object that is a piece of memory; ``memory.py``: the allocator behind it;
- ``pool.py``: the thread pool; ``program.py``: :class:`Program`, a table of kernels run by one native call;
- ``numpy_arrays.py``, ``dlpack.py``: memory in and out, without copies;
- ``devices.py``: the table of devices, the rows of which make all of this;
- ``state_locks.py``: which runs wait for each other.

Knows bytes, addresses and steps; nothing of tensors, shapes of ops or how kernels are made. The native module is made
at first use, so that ``import weft`` stays quick: use its functions through their module (``storage.empty(64)``).
"""
