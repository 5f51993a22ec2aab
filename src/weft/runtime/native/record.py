"""A call on the tape, in one call: what tensor/tape.py describes in Python (``record``), outside of captures.

Where the slots of the classes lie is fixed by CPython (view.py); tape.py checks that the first record that is made is
right, and does without otherwise.
"""

from __future__ import annotations

from typing import Annotated

from ...llvm.module import function, variable
from ...llvm.text import (
    I64,
    Ptr,
    Value,
    cast,
    constant,
    counted,
    else_,
    if_,
    is_null,
    local,
    return_,
    return_if,
    structure,
)
from .cpython import (
    Py_DecRef,
    PyBool_FromLong,
    PyIter_Next,
    PyList_New,
    PyList_SetItem,
    PyLong_AsLongLong,
    PyLong_FromLongLong,
    PyTuple_GetItem,
    PyTuple_New,
    PyTuple_SetItem,
    PyTuple_Size,
    PyType_GenericAlloc,
    builtin,
    new_none,
    new_reference,
    none,
    type_of,
)
from .storage import Storage, root_of, storage_type
from .view import Tensor
from .walk import Record

# after the header the slots, in the order of their names
Backward = Annotated[
    Value,
    structure(
        "Backward",
        refcount=I64,
        type=Ptr,
        asked=Ptr,
        call=Ptr,
        flows=Ptr,
        needs_inputs=Ptr,
        needs_outputs=Ptr,
        needs_values=Ptr,
        skips=Ptr,
    ),
]

record_type = variable("record_type", Ptr)
backward_type = variable("backward_type", Ptr)
sequence = variable("sequence", Ptr)  # what gives their numbers
own_node = variable("own_node", Ptr)  # stands for the record itself in what it keeps
true = variable("py_true", Ptr)


@builtin
def record_kind(type: Ptr, gradient: Ptr, numbers: Ptr, own: Ptr) -> Ptr:
    """record_kind(type, gradient, numbers, own): what record makes, of which gradients, from now on."""
    record_type.value = new_reference(type)  # for good
    backward_type.value = new_reference(gradient)
    sequence.value = new_reference(numbers)
    own_node.value = new_reference(own)
    true.value = PyBool_FromLong(1)
    return new_none()


@builtin
def record(gradient: Ptr, call: Ptr, wanted: Ptr, tensors: Ptr, outputs: Ptr, place: Ptr) -> Ptr:
    """record(gradient, call, wanted, tensors, outputs, place): put a call on the tape, whose operands want a gradient
    as the tuple ``wanted`` says. False, and nothing has happened, where one of them does and has no node, where one
    has no memory, or where the gradient is something else."""
    with if_(type_of(gradient) != backward_type.value):
        return_(PyBool_FromLong(0))
    backward, count = cast(Backward, gradient), PyTuple_Size(tensors)
    parents = parents_of(wanted, tensors, count)
    return_if(is_null(parents))
    with if_(parents == none.value):
        return_(PyBool_FromLong(0))
    saved = saved_of(backward, tensors, outputs)
    with if_(is_null(saved) | (saved == none.value)):
        Py_DecRef(parents)
        return_if(is_null(saved))
        return_(PyBool_FromLong(0))
    made = cast(Record, PyType_GenericAlloc(record_type.value, constant(0)))
    number = PyIter_Next(sequence.value)
    with if_(is_null(made) | is_null(number)):
        for each in (parents, saved, number):
            Py_DecRef(each)
        Py_DecRef(made)
        return_()
    made.backward = new_reference(gradient)
    made.call = new_reference(call)
    made.parents = parents
    made.place = new_reference(place)
    made.saved = saved
    made.sequence = number
    for i in counted(PyTuple_Size(outputs)):
        with if_(PyTuple_GetItem(backward.flows, i) == true.value):
            put_on(cast(Tensor, PyTuple_GetItem(outputs, i)), made, i)
    Py_DecRef(made)
    return PyBool_FromLong(1)


def put_on(output: Value, made: Value, index: Value) -> None:
    """Let a result have this place on the tape."""
    before, number = output.node, output.index
    output.node = new_reference(made)
    output.index = PyLong_FromLongLong(index)
    Py_DecRef(before)
    Py_DecRef(number)


@function
def parents_of(wanted: Ptr, tensors: Ptr, count: I64) -> Ptr:
    """Where the operands that want a gradient came from: ((node, index), ...). None where one has no node, or another
    has one."""
    wants = local(I64, 0)
    for i in counted(count):
        is_wanted = PyTuple_GetItem(wanted, i) == true.value
        with if_((cast(Tensor, PyTuple_GetItem(tensors, i)).node != none.value) ^ is_wanted):
            return_(new_none())
        with if_(is_wanted):
            wants.value += 1
    parents, at = PyTuple_New(wants.value), local(I64, 0)
    return_if(is_null(parents))
    for i in counted(count):
        with if_(PyTuple_GetItem(wanted, i) == true.value):
            pair, tensor = PyTuple_New(constant(2)), cast(Tensor, PyTuple_GetItem(tensors, i))
            with if_(is_null(pair)):
                Py_DecRef(parents)
                return_()
            # Whoever collects garbage when a tuple is made may have changed it meanwhile.
            with if_(tensor.node == none.value):
                Py_DecRef(pair)
                Py_DecRef(parents)
                return_(new_none())
            PyTuple_SetItem(pair, constant(0), new_reference(tensor.node))
            PyTuple_SetItem(pair, constant(1), new_reference(tensor.index))
            PyTuple_SetItem(parents, at.value, pair)
            at.value += 1
    return parents


@function
def saved_of(backward: Backward, tensors: Ptr, outputs: Ptr) -> Ptr:
    """A list of what the gradient needs of operands and results. None where one of these has no memory."""
    inputs = PyTuple_Size(backward.needs_inputs)
    count = inputs + PyTuple_Size(backward.needs_outputs)
    saved = PyList_New(count)
    return_if(is_null(saved))
    for i in counted(count):
        entry = local(Ptr)
        with if_(i < inputs):
            index = PyTuple_GetItem(backward.needs_inputs, i)
            tensor = cast(Tensor, PyTuple_GetItem(tensors, PyLong_AsLongLong(index)))
            entry.value = entry_of(tensor, tensor.node, tensor.index)
        with else_():
            number = PyTuple_GetItem(backward.needs_outputs, i - inputs)
            entry.value = entry_of(PyTuple_GetItem(outputs, PyLong_AsLongLong(number)), own_node.value, number)
        with if_(is_null(entry.value) | (entry.value == none.value)):
            Py_DecRef(saved)
            return_(entry.value)
        PyList_SetItem(saved, i, entry.value)
    return saved


@function
def entry_of(tensor: Tensor, node: Ptr, index: Ptr) -> Ptr:
    """(storage, spec, node, index, version) of a tensor, whose version is looked at from now on; None where it has no
    memory."""
    entry = PyTuple_New(constant(5))
    return_if(is_null(entry))
    storage = tensor.storage
    with if_(is_null(storage)):
        Py_DecRef(entry)
        return_(new_none())
    with if_(type_of(storage) != storage_type.value):
        Py_DecRef(entry)
        return_(new_none())
    root = root_of(cast(Storage, storage))
    version = PyLong_FromLongLong(root.version)
    with if_(is_null(version)):
        Py_DecRef(entry)
        return_()
    root.watched = 1
    PyTuple_SetItem(entry, constant(0), new_reference(storage))
    PyTuple_SetItem(entry, constant(1), new_reference(tensor.spec))
    PyTuple_SetItem(entry, constant(2), new_reference(node))
    PyTuple_SetItem(entry, constant(3), new_reference(index))
    PyTuple_SetItem(entry, constant(4), version)
    return entry
