"""A tensor, or a view of one, in one call, since little else happens where these are made.

``make(storage, spec, node, index)`` makes a Tensor of its parts: an object of the type that ``make_kind`` was given.

``look(source, spec, offset, step, tracked, layout)`` makes what tensor/dispatch.py describes in Python
(``view_in_steps``): the window on the memory, the Tensor, its View, and the weak reference that the base has to it.
``layout`` is a tuple of what Python knows of the classes: (Tensor, View, 0, TRACKED, DETACHED, function that clears a
list of dead references). Where the slots of the classes lie is fixed by CPython (``type_new``: in the order of their
names, after the header); tensor/dispatch.py checks that the first view that is made is right, and does without
otherwise.
"""

from __future__ import annotations

from typing import Annotated

from ...llvm.module import function, variable
from ...llvm.text import (
    I1,
    I64,
    TRUE,
    Ptr,
    Value,
    cast,
    else_,
    if_,
    is_null,
    local,
    return_,
    return_if,
    select,
    structure,
)
from .cpython import (
    Py_DecRef,
    Py_IncRef,
    PyList_Append,
    PyList_New,
    PyList_Size,
    PyObject_CallOneArg,
    PyTuple_GetItem,
    PyType_GenericAlloc,
    PyWeakref_NewRef,
    builtin,
    integer,
    new_none,
    new_reference,
    none,
    type_of,
)
from .storage import Storage, rest_of, storage_type

# after the header the slots, in the order of their names
Tensor = Annotated[
    Value,
    structure("Tensor", refcount=I64, type=Ptr, index=Ptr, node=Ptr, spec=Ptr, storage=Ptr, view=Ptr, views=Ptr),
]
View = Annotated[Value, structure("View", refcount=I64, type=Ptr, above=Ptr, base=Ptr, kind=Ptr, step=Ptr)]

made_type = variable("made_type", Ptr)


@builtin
def make_kind(type: Ptr) -> Ptr:
    """make_kind(type): what make makes, from now on."""
    made_type.value = new_reference(type)  # for good
    return new_none()


@builtin
def make(storage: Ptr, spec: Ptr, node: Ptr, index: Ptr) -> Ptr:
    """make(storage, spec, node, index): a tensor of these parts."""
    return tensor_of(made_type.value, storage, spec, node, index)


@function
def tensor_of(type: Ptr, storage: Ptr, spec: Ptr, node: Ptr, index: Ptr) -> Ptr:
    """A tensor of these parts that is no view and has none."""
    made = cast(Tensor, PyType_GenericAlloc(type, 0))
    return_if(is_null(made))
    made.index = new_reference(index)
    made.node = new_reference(node)
    made.spec = new_reference(spec)
    made.storage = new_reference(storage)
    made.view = new_none()
    made.views = new_none()
    return made


@builtin
def look(source: Ptr, spec: Ptr, offset: Ptr, step: Ptr, kind: Ptr, layout: Ptr) -> Ptr:
    """look(source, spec, offset, step, kind, layout): a view of a tensor, or None."""
    storage = cast(Tensor, source).storage
    with if_(type_of(storage) != storage_type.value):
        return_(new_none())
    shown = local(Ptr, storage)
    start = integer(offset)
    with if_(start == 0):
        Py_IncRef(storage)
    with else_():
        shown.value = rest_of(cast(Storage, storage), start)
        return_if(is_null(shown.value))
    made = tensor_of(PyTuple_GetItem(layout, 0), shown.value, spec, none.value, PyTuple_GetItem(layout, 2))
    Py_DecRef(shown.value)
    return_if(is_null(made))
    with if_(~linked(made, source, step, kind, layout)):
        Py_DecRef(made)
        return_()
    return made


@function
def linked(made: Tensor, source: Tensor, step: Ptr, kind: Ptr, layout: Ptr) -> I1:
    """Make ``made`` a view of ``source``, and known to the base; false with an exception set."""
    view = cast(View, PyType_GenericAlloc(PyTuple_GetItem(layout, 1), 0))
    return_if(is_null(view))
    made.view = view
    Py_DecRef(none.value)  # which was there
    base, above, how = local(Ptr, source), local(Ptr, none.value), local(Ptr, kind)
    of = cast(View, source.view)
    with if_(~(is_null(of) | (of == none.value))), if_(of.kind != PyTuple_GetItem(layout, 4)):
        base.value = of.base
        above.value = of
        how.value = select(kind == PyTuple_GetItem(layout, 3), of.kind, kind)
    view.base = new_reference(base.value)
    view.above = new_reference(above.value)
    view.kind = new_reference(how.value)
    view.step = new_reference(step)
    root = cast(Tensor, base.value)
    with if_(root.views == none.value):
        fresh = PyList_New(0)
        return_if(is_null(fresh))
        with if_(root.views == none.value):
            root.views = fresh
            Py_DecRef(none.value)
        with else_():  # what is allocated may collect garbage, and that make a view and its list
            Py_DecRef(fresh)
    # so may what is allocated from here on
    known = new_reference(root.views)
    done = remembered(known, made, PyTuple_GetItem(layout, 5))
    Py_DecRef(known)
    return done


@function
def remembered(known: Ptr, made: Ptr, clear: Ptr) -> I1:
    """Append a weak reference to a list, which is cleared of dead ones whenever it has grown to twice its length."""
    reference = PyWeakref_NewRef(made, None)
    return_if(is_null(reference))
    refused = PyList_Append(known, reference)
    Py_DecRef(reference)
    return_if(refused != 0)
    length = PyList_Size(known)
    with if_((length >= 16) & ((length & (length - 1)) == 0)):
        cleared = PyObject_CallOneArg(clear, known)
        return_if(is_null(cleared))
        Py_DecRef(cleared)
    return TRUE
