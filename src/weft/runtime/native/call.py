"""A captured function's call where nothing stands in its way: guards, run, and the tensors that it makes, in one call.

A table of 64-bit words (runtime/quick.py lays it out) says what held when the function was captured, by the addresses
of objects, and what a run takes and makes::

    %Quick      program               the Storage over the table of the program (runner.py)
                refusal               what is given back where something does not hold: the caller goes the long way
                zero                  the integer
                runs                  -> i64, which counts the calls that are not refused
                version, seen         -> i64, and what it was when all that is counted there was last found to hold
                positional, named     how many arguments there are of each kind
                names                 -> positional + named, of which the last have names
                givens                -> as many %Given
                tensors               how many of these are tensors: the first inputs of the program
                states, inputs, state -> %State; so many of them are the further inputs
                apart, roots          -> Storages whose memory no tensor argument may reach into
                pairs                 1: neither may two tensor arguments show the same memory
                cells, cell           -> %Cell
                items, item           -> %Item
                attributes, attribute -> %Attribute
                contents, content     -> %Content
                truth, checks, check  True, and Python functions of the list of tensor arguments that have to return it
                writes, written       -> i64, the inputs that a run writes
                makes, specs          -> the specs of what a run makes
                alone                 1: it makes one tensor, which is the result

    %Given      type, spec, node, view, base    of a tensor: its type, its spec, the type of its place on the tape, the
                                                kind of its view and the type of its base's place (null: it is no view);
                                                where spec is null, ``type`` is the argument itself
    %State      tensor, spec, node, storage     a tensor, as above; the storage it has, or null: any
    %Cell       cell, value                     null: it is empty
    %Item       dict, key, value                null: it is not there
    %Attribute  owner, name, value, is_item     where is_item is 1, an item of what is no dict
    %Content    container, is_dict, count, values    of a list its items, of a dict its keys and values in turn

All objects are compared by identity: who laid out the table found that what lies there holds. The addresses are
borrowed; the builtin holds a tuple with all of these objects, where the cycle collector finds them (as its module).
"""

from __future__ import annotations

from typing import Annotated

from ...llvm.module import cold, function, static
from ...llvm.text import (
    I1,
    I64,
    TRUE,
    Integers,
    Pointers,
    Ptr,
    Value,
    below,
    cast,
    constant,
    counted,
    else_,
    if_,
    is_null,
    local,
    return_,
    return_if,
    select,
    stack_array,
    structure,
    to_integer,
)
from .cpython import (
    METH_FASTCALL,
    Builtin,
    MethodDef,
    Py_DecRef,
    Py_IncRef,
    PyCell_Get,
    PyCFunction_NewEx,
    PyDict_GetItemWithError,
    PyDict_Next,
    PyDict_Size,
    PyErr_Clear,
    PyErr_Occurred,
    PyList_GetItem,
    PyList_New,
    PyList_SetItem,
    PyList_Size,
    PyObject_CallOneArg,
    PyObject_GetAttr,
    PyObject_GetItem,
    PyTuple_GetItem,
    PyTuple_New,
    PyTuple_SetItem,
    PyTuple_Size,
    builtin,
    check_count,
    filled,
    new_none,
    new_reference,
    none,
    type_of,
)
from .runner import program_run
from .steps import Program
from .storage import READ_ONLY, Storage, access_of, root_of, storage_type
from .view import Tensor, View, made_type, tensor_of

Given = Annotated[Value, structure("Given", type=Ptr, spec=Ptr, node=Ptr, view=Ptr, base=Ptr)]
State = Annotated[Value, structure("State", tensor=Tensor, spec=Ptr, node=Ptr, storage=Ptr)]
Cell = Annotated[Value, structure("Cell", cell=Ptr, value=Ptr)]
Item = Annotated[Value, structure("Item", dict=Ptr, key=Ptr, value=Ptr)]
Attribute = Annotated[Value, structure("Attribute", owner=Ptr, name=Ptr, value=Ptr, is_item=I64)]
Content = Annotated[Value, structure("Content", container=Ptr, is_dict=I64, count=I64, values=Pointers)]
Quick = Annotated[
    Value,
    structure(
        "Quick",
        program=Storage,
        refusal=Ptr,
        zero=Ptr,
        runs=Integers,
        version=Integers,
        seen=I64,
        positional=I64,
        named=I64,
        names=Pointers,
        given=Given,
        tensors=I64,
        states=I64,
        inputs=I64,
        state=State,
        apart=I64,
        roots=Pointers,
        pairs=I64,
        cells=I64,
        cell=Cell,
        items=I64,
        item=Item,
        attributes=I64,
        attribute=Attribute,
        contents=I64,
        content=Content,
        truth=Ptr,
        checks=I64,
        check=Pointers,
        writes=I64,
        written=Integers,
        makes=I64,
        specs=Pointers,
        alone=I64,
    ),
]


# ---------------------------------------------------------------------------------------------------- arguments


@function
def named_given(quick: Quick, arguments: Ptr, objects: Pointers) -> I1:
    """The arguments with names into ``objects``, in their order; whether they have the names that they had."""
    return_if(PyDict_Size(arguments) != quick.named)
    position, key, value = local(I64), local(Ptr), local(Ptr)
    for i in counted(quick.positional + quick.named, quick.positional):
        return_if(PyDict_Next(arguments, position, key, value) == 0)
        return_if(key.value != quick.names[i])
        objects[i] = value.value
    return TRUE


@function
def is_typed(tensor: Tensor, spec: Ptr, node: Ptr) -> I1:
    """Whether a tensor has this spec, and a place on the tape of this type."""
    return_if(tensor.spec != spec)
    return_if(is_null(tensor.node))
    return type_of(tensor.node) == node


@function
def is_as_given(object: Ptr, given: Given) -> I1:
    """Whether an argument is what it was, or a tensor like it."""
    with if_(is_null(given.spec)):
        return_(object == given.type)
    return_if(type_of(object) != given.type)
    tensor = cast(Tensor, object)
    return_if(~is_typed(tensor, given.spec, given.node))
    view = cast(View, tensor.view)
    with if_(is_null(given.view)):
        return_(view == none.value)
    return_if(is_null(view) | (view == none.value))
    return_if(view.kind != given.view)
    base = cast(Tensor, view.base)
    return_if(is_null(base.node))
    return type_of(base.node) == given.base


@function
def take_arguments(quick: Quick, arguments: Ptr, named: Ptr, tensors: Pointers) -> I1:
    """Whether the arguments are as they were; the tensors among them into ``tensors``."""
    positional = quick.positional
    count = positional + quick.named
    objects = stack_array(Ptr, count)
    return_if(PyTuple_Size(arguments) != positional)
    for i in counted(positional):
        objects[i] = PyTuple_GetItem(arguments, i)
    return_if(~named_given(quick, named, objects))
    given = quick.given
    found = local(I64, 0)
    for i in counted(count):
        return_if(~is_as_given(objects[i], given[i]))
        with if_(~is_null(given[i].spec)):
            tensors[found.value] = objects[i]
            found.value += 1
    return TRUE


# ---------------------------------------------------------------------------------------------------- guards


@function
def same_state(quick: Quick) -> I1:
    state = quick.state
    for i in counted(quick.states):
        each = state[i]
        return_if(~is_typed(each.tensor, each.spec, each.node))
        with if_(~is_null(each.storage)):
            return_if(each.tensor.storage != each.storage)
    return TRUE


@function
def same_names(quick: Quick) -> I1:
    """Whether variables, items of dicts, attributes and the contents of lists and dicts are what they were."""
    for i in counted(quick.cells):
        each = quick.cell[i]
        value = PyCell_Get(each.cell)
        Py_DecRef(value)  # the cell holds it
        return_if(value != each.value)
    for i in counted(quick.items):
        item = quick.item[i]
        found = PyDict_GetItemWithError(item.dict, item.key)
        return_if(found != item.value)
        with if_(is_null(found)):  # or the keys could not be compared
            return_if(~is_null(PyErr_Occurred()))
    for i in counted(quick.attributes):
        attribute = quick.attribute[i]
        now = local(Ptr)
        with if_(attribute.is_item == 0):
            now.value = PyObject_GetAttr(attribute.owner, attribute.name)
        with else_():
            now.value = PyObject_GetItem(attribute.owner, attribute.name)
        return_if(is_null(now.value))
        Py_DecRef(now.value)
        return_if(now.value != attribute.value)
    for i in counted(quick.contents):
        return_if(~same_content(quick.content[i]))
    return TRUE


@function
def same_content(content: Content) -> I1:
    container, values = content.container, content.values
    with if_(content.is_dict == 0):
        return_if(PyList_Size(container) != content.count)
        for i in counted(content.count):
            return_if(PyList_GetItem(container, i) != values[i])
        return_(TRUE)
    return_if(PyDict_Size(container) != content.count)
    position, key, value = local(I64), local(Ptr), local(Ptr)
    for i in counted(content.count):
        return_if(PyDict_Next(container, position, key, value) == 0)
        return_if((key.value != values[i + i]) | (value.value != values[i + i + 1]))
    return TRUE


def overlap(a: Value, b: Value) -> Value:
    """Whether two Storages have bytes in common."""
    low, other = to_integer(a.address), to_integer(b.address)
    return below(low, other + b.nbytes) & below(other, low + a.nbytes)


@function
def are_apart(quick: Quick, tensors: Pointers) -> I1:
    """Whether no argument reaches into memory that it has to keep out of."""
    return_if((quick.apart == 0) & (quick.pairs == 0), TRUE)
    for i in counted(quick.tensors):
        storage = cast(Storage, cast(Tensor, tensors[i]).storage)
        return_if(is_null(storage))
        return_if(type_of(storage) != storage_type.value)
        for k in counted(quick.apart):
            return_if(overlap(storage, cast(Storage, quick.roots[k])))
        with if_(quick.pairs != 0):
            for k in counted(i):
                return_if(overlap(storage, cast(Storage, cast(Tensor, tensors[k]).storage)))
    return TRUE


@function
def listed(quick: Quick, tensors: Pointers) -> Ptr:
    """A list of the arguments' tensors."""
    count = quick.tensors
    return filled(PyList_New(count), PyList_SetItem, count, lambda i: new_reference(tensors[i]))


@cold
def checked(quick: Quick, tensors: Pointers) -> I1:
    """Whether Python code finds that its part holds."""
    given = listed(quick, tensors)
    return_if(is_null(given))
    for i in counted(quick.checks):
        found = PyObject_CallOneArg(quick.check[i], given)
        with if_(found != quick.truth):
            Py_DecRef(found)
            Py_DecRef(given)
            return_()
        Py_DecRef(found)
    Py_DecRef(given)
    return TRUE


@function
def holds(quick: Quick, arguments: Ptr, named: Ptr, tensors: Pointers) -> I1:
    """Whether all is as it was when the function was captured; the arguments' tensors into ``tensors``."""
    return_if(quick.version[0] != quick.seen)
    return_if(~take_arguments(quick, arguments, named, tensors))
    with if_(quick.checks != 0):  # first: other threads may run meanwhile
        return_if(~checked(quick, tensors))
        return_if(quick.version[0] != quick.seen)
    return_if(~same_state(quick))
    return_if(~same_names(quick))
    return are_apart(quick, tensors)


# ---------------------------------------------------------------------------------------------------- the run


@function
def gather(quick: Quick, tensors: Pointers, storages: Pointers) -> I1:
    """The storages of arguments and state; whether all have one, and none that is written is read-only or watched."""
    count = quick.tensors
    for i in counted(count):
        storages[i] = cast(Tensor, tensors[i]).storage
    for i in counted(quick.inputs):
        storages[count + i] = quick.state[i].tensor.storage
    for i in counted(count + quick.inputs):
        return_if(is_null(storages[i]))
        return_if(type_of(storages[i]) != storage_type.value)
    for i in counted(quick.writes):
        storage = cast(Storage, storages[quick.written[i]])
        return_if(((access_of(storage) & READ_ONLY) != 0) | (root_of(storage).watched != 0))
    return TRUE


@function
def made_of(quick: Quick, outputs: Ptr) -> Ptr:
    """Tensors of what a run has given: the one, or a list."""
    type, index, specs, makes = made_type.value, quick.zero, quick.specs, quick.makes
    with if_(quick.alone != 0):
        return_(tensor_of(type, outputs, specs[0], none.value, index))
    made = PyList_New(makes)
    return_if(is_null(made))
    for i in counted(makes):
        output = local(Ptr, outputs)
        with if_(makes != 1):
            output.value = PyTuple_GetItem(outputs, i)
        tensor = tensor_of(type, output.value, specs[i], none.value, index)
        with if_(is_null(tensor)):
            Py_DecRef(made)
            return_()
        PyList_SetItem(made, i, tensor)
    return made


@function
def run(quick: Quick, tensors: Pointers) -> Ptr:
    """Run the program; what it makes, or the refusal."""
    count = quick.tensors + quick.inputs
    storages = stack_array(Ptr, count)
    with if_(~gather(quick, tensors, storages)):
        return_(new_reference(quick.refusal))
    lets_go = cast(Program, quick.program.address).release_gil != 0
    quick.runs[0] += 1
    with if_(lets_go):  # another thread may take a storage out of its tensor meanwhile
        for i in counted(count):
            Py_IncRef(storages[i])
    outputs = program_run(quick.program, storages, count, None)
    with if_(~is_null(outputs)):
        for i in counted(quick.writes):
            root_of(cast(Storage, storages[quick.written[i]])).version += 1
    with if_(lets_go):
        for i in counted(count):
            Py_DecRef(storages[i])
    return_if(is_null(outputs))
    made = made_of(quick, outputs)
    Py_DecRef(outputs)
    return made


@cold
def refused(quick: Quick) -> Ptr:
    with if_(~is_null(PyErr_Occurred())):  # an attribute that is not there any more, a key that cannot be compared
        PyErr_Clear()
    return new_reference(quick.refusal)


def quick_call(self: Storage, arguments: Pointers, count: I64) -> Ptr:
    """call(args, kwargs): the result, or the refusal where something does not hold."""
    check_count("call", constant(2), count)
    quick = cast(Quick, self.address)
    tensors = stack_array(Ptr, quick.tensors)
    with if_(~holds(quick, arguments[0], arguments[1], tensors)):
        return_(refused(quick))
    return run(quick, tensors)


def quick_admit(self: Storage, arguments: Pointers, count: I64) -> Ptr:
    """admit(args, kwargs): the list of tensors among the arguments, or the refusal."""
    check_count("admit", constant(2), count)
    quick = cast(Quick, self.address)
    tensors = stack_array(Ptr, quick.tensors)
    with if_(~holds(quick, arguments[0], arguments[1], tensors)):
        return_(refused(quick))
    return listed(quick, tensors)


def quick_run(self: Storage, arguments: Pointers, count: I64) -> Ptr:
    """run(tensors): what a run makes for what ``admit`` gave; nothing is looked at again. Or the refusal."""
    check_count("run", constant(1), count)
    quick = cast(Quick, self.address)
    tensors = stack_array(Ptr, quick.tensors)
    for i in counted(quick.tensors):
        tensors[i] = PyList_GetItem(arguments[0], i)
    return run(quick, tensors)


def quick_refused(self: Storage, arguments: Pointers, count: I64) -> Ptr:
    """What stands for ``call`` and ``run`` while calls of programs are watched: whose calls come the other way."""
    return refused(cast(Quick, self.address))


METHODS = [Builtin(body, METH_FASTCALL).row for body in (quick_call, quick_admit, quick_run)]
methods = static("quick_methods", MethodDef, METHODS)
plain_and_refused = static(
    "plain_and_refused", Ptr, [METHODS[0][1], METHODS[2][1], Builtin(quick_refused, METH_FASTCALL)]
)


@builtin
def quick_watch(on: I64) -> Ptr:
    """quick_watch(on): refuse every call, or no longer; as runner.py's ``program_watch``, who does not watch pays
    nothing."""
    methods[0].function = plain_and_refused[select(on != 0, constant(2), constant(0))]
    methods[2].function = plain_and_refused[select(on != 0, constant(2), constant(1))]
    return new_none()


@builtin
def quick_bind(table: Storage, held: Ptr) -> Ptr:
    """quick_bind(table, held): the builtins (call, admit, run) of a table; ``held`` has the objects it points to."""
    count = len(METHODS)
    return filled(PyTuple_New(count), PyTuple_SetItem, count, lambda i: PyCFunction_NewEx(methods[i], table, held))
