"""What the loaded module is asked for: the type Storage and all builtins, in a dictionary."""

from __future__ import annotations

from ...llvm.module import exported, static
from ...llvm.text import Ptr, counted, is_null, return_if
from . import allocator, call, dlpack, host, pool, record, runner, signals, storage, view, walk
from .cpython import (
    HOOKS,
    Builtin,
    MethodDef,
    Py_DecRef,
    PyCFunction_NewEx,
    PyDict_New,
    PyDict_SetItemString,
    PyTuple_GetItem,
    new_reference,
)

_SECTIONS = (allocator, storage, view, pool, runner, host, dlpack, call, signals, walk, record)
_BUILTINS = [made for section in _SECTIONS for made in vars(section).values() if isinstance(made, Builtin)]


@exported
def weft_native_init(hooks: Ptr) -> Ptr:
    """Keep the hooks, make the Storage type, and fill a dict with it and with the builtins."""
    found = PyDict_New()
    return_if(is_null(found))
    for place, hook in enumerate(HOOKS):
        hook.value = new_reference(PyTuple_GetItem(hooks, place))
    pool.pool_initialise()
    type = storage.make_storage_type()
    return_if(is_null(type))
    PyDict_SetItemString(found, "Storage", type)
    rows = static("builtins", MethodDef, [made.row for made in _BUILTINS])
    for i in counted(len(_BUILTINS)):
        made = PyCFunction_NewEx(rows[i], None, None)
        return_if(is_null(made))
        PyDict_SetItemString(found, rows[i].name, made)
        Py_DecRef(made)
    return found
