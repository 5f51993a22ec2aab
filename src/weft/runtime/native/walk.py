"""The walk of a backward pass, compared with one that is known, in one call: 60 ns a record.

A table of 64-bit words (tensor/joint_pass.py lays it out) says what the records of the tape have to be, by the
addresses of objects::

    %Walk     records, leaves, kept       how many there are of each; what is kept is that of all records
              record, leaf, list          these types
    %Visit    backward                    of a record: its gradient
              parents, saved              how many there are; behind these
              parents x (number, index)   where operands came from: the place among records and leaves, a Python int
              saved x spec                of what was kept

The first number that stands for a record or leaf says what it is, others have to find it there. Records are visited in
their order, from the latest on. Where the slots of a record lie is fixed by CPython, as in view.py; who makes tables
checks that it is so.
"""

from __future__ import annotations

from typing import Annotated

from ...llvm.module import function
from ...llvm.text import (
    I1,
    I64,
    TRUE,
    Integers,
    Ptr,
    Value,
    cast,
    counted,
    if_,
    is_null,
    local,
    return_,
    return_if,
    structure,
    to_integer,
)
from .cpython import (
    Py_DecRef,
    Py_IncRef,
    PyErr_Clear,
    PyErr_Occurred,
    PyList_GetItem,
    PyList_New,
    PyList_SetItem,
    PyList_Size,
    PyLong_AsLongLong,
    PyObject_RichCompareBool,
    PyTuple_GetItem,
    PyTuple_New,
    PyTuple_SetItem,
    PyTuple_Size,
    builtin,
    new_none,
    none,
    type_of,
)
from .storage import Storage, root_of, storage_type

# after the header the slots, in the order of their names
Record = Annotated[
    Value,
    structure(
        "Record",
        refcount=I64,
        type=Ptr,
        backward=Ptr,
        call=Ptr,
        hooks=Ptr,
        parents=Ptr,
        place=Ptr,
        saved=Ptr,
        sequence=Ptr,
    ),
]
Walk = Annotated[
    Value, structure("Walk", records=I64, leaves=I64, kept=I64, record=Ptr, leaf=Ptr, list=Ptr, first_visit=I64)
]
HEADER = 6
GREATER = 4  # Py_GT


@builtin
def walk(root: Ptr, table: Storage) -> Ptr:
    """walk(root, table): the records and leaves that the walk comes to from ``root``, and the storages that they have
    kept, as two lists; None where it is another walk, or where something was freed or written since."""
    known = cast(Walk, table.address)
    found, nodes, kept = PyTuple_New(2), PyList_New(known.records + known.leaves), PyList_New(known.kept)
    with if_(is_null(found) | is_null(nodes) | is_null(kept)):
        for each in (found, nodes, kept):
            Py_DecRef(each)
        return_()
    PyTuple_SetItem(found, 0, nodes)
    PyTuple_SetItem(found, 1, kept)
    # Nothing is allocated from here on, so that nobody changes the tape meanwhile.
    return_if(is_followed(root, known, nodes, kept), found)
    Py_DecRef(found)
    with if_(~is_null(PyErr_Occurred())):  # something else than a tuple
        PyErr_Clear()
    return new_none()


def put(list: Value, number: Value, object: Value) -> None:
    Py_IncRef(object)
    PyList_SetItem(list, number, object)


@function
def is_followed(root: Ptr, known: Walk, nodes: Ptr, kept: Ptr) -> I1:
    """Whether the tape is that of the walk; its nodes and storages into the lists."""
    words = cast(Integers, known)
    put(nodes, 0, root)  # type: ignore[arg-type]
    at, storages, before = local(I64, HEADER), local(I64, 0), local(Ptr, None)
    for number in counted(known.records):
        object = PyList_GetItem(nodes, number)
        return_if(is_null(object))
        return_if(type_of(object) != known.record)
        record = cast(Record, object)
        return_if(to_integer(record.backward) != words[at.value])
        return_if(is_null(record.sequence) | is_null(record.parents) | is_null(record.saved))
        with if_(~is_null(before.value)):
            return_if(PyObject_RichCompareBool(before.value, record.sequence, GREATER) != 1)
        before.value = record.sequence
        parents, saved = words[at.value + 1], words[at.value + 2]
        at.value += 3
        return_if(~leads(record.parents, parents, words, at.value, nodes))
        at.value += parents + parents
        return_if(record.saved == none.value)
        with if_(saved != 0):
            return_if(type_of(record.saved) != known.list)
            return_if(PyList_Size(record.saved) != saved)
            for i in counted(saved):
                storage = unwritten(PyList_GetItem(record.saved, i), words[at.value + i])
                return_if(is_null(storage))
                put(kept, storages.value, storage)
                storages.value += 1
        at.value += saved
    for number in counted(known.records + known.leaves, known.records):
        leaf = PyList_GetItem(nodes, number)
        return_if(is_null(leaf))
        return_if(type_of(leaf) != known.leaf)
    return TRUE


@function
def leads(parents: Ptr, count: I64, words: Integers, first: I64, nodes: Ptr) -> I1:
    """Whether operands came from where they have to; nodes that nobody has come to yet are noted."""
    return_if(PyTuple_Size(parents) != count)
    for i in counted(count):
        pair, number = PyTuple_GetItem(parents, i), words[first + i + i]
        return_if(PyTuple_Size(pair) != 2)
        return_if(to_integer(PyTuple_GetItem(pair, 1)) != words[first + i + i + 1])
        node, noted = PyTuple_GetItem(pair, 0), PyList_GetItem(nodes, number)
        with if_(is_null(noted)):
            put(nodes, number, node)
        return_if(~is_null(noted) & (noted != node))
    return TRUE


@function
def unwritten(entry: Ptr, spec: I64) -> Ptr:
    """The storage of a value that a record has kept, (storage, spec, node, index, version); null where it has another
    spec, or was written since."""
    return_if(PyTuple_Size(entry) != 5)
    return_if(to_integer(PyTuple_GetItem(entry, 1)) != spec)
    storage = PyTuple_GetItem(entry, 0)
    return_if(type_of(storage) != storage_type.value)
    return_if(root_of(cast(Storage, storage)).version != PyLong_AsLongLong(PyTuple_GetItem(entry, 4)))
    return storage
