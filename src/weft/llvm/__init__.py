"""Machine code: IR text, targets, assembly, and object code on disk and in this process.

- ``text.py``, ``module.py``: IR as text, written with structure: values and control flow; functions and modules;
- ``targets.py``: the machines that code is generated for, one row for each ISA;
- ``library.py``, ``assembly.py``: LLVM's own entry points, and IR text to object code with them;
- ``elf.py``: object code into this process;
- ``object_cache.py``, ``disk_cache.py``: object code kept on disk.

Knows text, bytes and addresses; nothing of memory, threads of ours or kernels.
"""
