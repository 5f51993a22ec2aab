"""What the native runtime knows of CPython: its functions, its tables, and how Python calls a builtin.

Only functions are imported, never data symbols: the objects that the code needs (``None``, exception types, hooks)
come in through :data:`HOOKS`, so no relocation has to reach data of another image. Of an object's layout only the
header ``{refcount, type}`` is relied on (CPython 3.11 to 3.13, builds with the GIL).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, get_args, get_type_hints

from ...llvm.module import Function, cold, extern, variable
from ...llvm.text import (
    F64,
    I32,
    I64,
    NULL,
    Integers,
    Operand,
    Pointers,
    Ptr,
    Value,
    cast,
    counted,
    if_,
    is_null,
    return_,
    return_if,
    structure,
)

PyType_GenericAlloc = extern(Ptr, "PyType_GenericAlloc", Ptr, I64)
PyWeakref_NewRef = extern(Ptr, "PyWeakref_NewRef", Ptr, Ptr)
Py_IncRef = extern(None, "Py_IncRef", Ptr)  # this and Py_DecRef take null
Py_DecRef = extern(None, "Py_DecRef", Ptr)
PyObject_Malloc = extern(Ptr, "PyObject_Malloc", I64)
PyObject_Free = extern(None, "PyObject_Free", Ptr)
PyObject_Init = extern(Ptr, "PyObject_Init", Ptr, Ptr)
PyObject_ClearWeakRefs = extern(None, "PyObject_ClearWeakRefs", Ptr)
PyObject_CallOneArg = extern(Ptr, "PyObject_CallOneArg", Ptr, Ptr)
PyObject_Vectorcall = extern(Ptr, "PyObject_Vectorcall", Ptr, Pointers, I64, Ptr)
PyType_FromSpec = extern(Ptr, "PyType_FromSpec", Ptr)
PyBuffer_FillInfo = extern(I32, "PyBuffer_FillInfo", Ptr, Ptr, Ptr, I64, I32, I32)
PyCFunction_NewEx = extern(Ptr, "PyCFunction_NewEx", Ptr, Ptr, Ptr)
PyBytes_FromStringAndSize = extern(Ptr, "PyBytes_FromStringAndSize", Ptr, I64)
PyTuple_New = extern(Ptr, "PyTuple_New", I64)
PyTuple_SetItem = extern(I32, "PyTuple_SetItem", Ptr, I64, Ptr)
PyTuple_GetItem = extern(Ptr, "PyTuple_GetItem", Ptr, I64)
PyTuple_Size = extern(I64, "PyTuple_Size", Ptr)
PyCell_Get = extern(Ptr, "PyCell_Get", Ptr)  # null, and no exception, where it is empty
PyList_New = extern(Ptr, "PyList_New", I64)
PyList_SetItem = extern(I32, "PyList_SetItem", Ptr, I64, Ptr)
PyList_Append = extern(I32, "PyList_Append", Ptr, Ptr)
PyList_Size = extern(I64, "PyList_Size", Ptr)
PyList_GetItem = extern(Ptr, "PyList_GetItem", Ptr, I64)
PyDict_New = extern(Ptr, "PyDict_New")
PyDict_SetItemString = extern(I32, "PyDict_SetItemString", Ptr, Ptr, Ptr)
PyDict_Size = extern(I64, "PyDict_Size", Ptr)
PyDict_GetItemWithError = extern(Ptr, "PyDict_GetItemWithError", Ptr, Ptr)
PyDict_Next = extern(I32, "PyDict_Next", Ptr, Integers, Pointers, Pointers)
PyIter_Next = extern(Ptr, "PyIter_Next", Ptr)
PyObject_GetItem = extern(Ptr, "PyObject_GetItem", Ptr, Ptr)
PyObject_GetAttr = extern(Ptr, "PyObject_GetAttr", Ptr, Ptr)
PyObject_RichCompareBool = extern(I32, "PyObject_RichCompareBool", Ptr, Ptr, I32)
PyFloat_FromDouble = extern(Ptr, "PyFloat_FromDouble", F64)
PyLong_FromLongLong = extern(Ptr, "PyLong_FromLongLong", I64)
PyLong_AsLongLong = extern(I64, "PyLong_AsLongLong", Ptr)
PyBool_FromLong = extern(Ptr, "PyBool_FromLong", I64)
PyUnicode_FromFormat = extern(Ptr, "PyUnicode_FromFormat", Ptr, variadic=True)
PyErr_NoMemory = extern(Ptr, "PyErr_NoMemory")
PyErr_CheckSignals = extern(I32, "PyErr_CheckSignals")
PyErr_Occurred = extern(Ptr, "PyErr_Occurred")
PyErr_Clear = extern(None, "PyErr_Clear")
PyErr_Format = extern(Ptr, "PyErr_Format", Ptr, Ptr, variadic=True)  # returns null
PyEval_SaveThread = extern(Ptr, "PyEval_SaveThread")
PyEval_RestoreThread = extern(None, "PyEval_RestoreThread", Ptr)
PyGILState_Ensure = extern(I32, "PyGILState_Ensure")
PyGILState_Release = extern(None, "PyGILState_Release", I32)
PyThread_get_thread_ident = extern(I64, "PyThread_get_thread_ident")
Py_FatalError = extern(None, "Py_FatalError", Ptr)
Py_IsInitialized = extern(I32, "Py_IsInitialized")
PyCapsule_New = extern(Ptr, "PyCapsule_New", Ptr, Ptr, Ptr)
PyCapsule_GetPointer = extern(Ptr, "PyCapsule_GetPointer", Ptr, Ptr)
PyCapsule_IsValid = extern(I32, "PyCapsule_IsValid", Ptr, Ptr)
PyCapsule_SetName = extern(I32, "PyCapsule_SetName", Ptr, Ptr)

Object = Annotated[Value, structure("Object", refcount=I64, type=Ptr)]
MethodDef = Annotated[Value, structure("MethodDef", name=Ptr, function=Ptr, flags=I32, doc=Ptr)]
METH_FASTCALL, METH_NOARGS, METH_O = 0x80, 0x04, 0x08

# what is in the tuple that weft_native_init receives, in this order; native/__init__.py has the hooks
none = variable("py_none", Ptr)
type_error = variable("py_type_error", Ptr)
value_error = variable("py_value_error", Ptr)
buffer_error = variable("py_buffer_error", Ptr)
raise_out_of_memory = variable("py_raise_out_of_memory", Ptr)
raise_status = variable("py_raise_status", Ptr)
collect_garbage = variable("py_collect_garbage", Ptr)
raise_kept = variable("py_raise_kept", Ptr)
HOOKS = (none, type_error, value_error, buffer_error, raise_out_of_memory, raise_status, collect_garbage, raise_kept)


# ---------------------------------------------------------------------------------------------------- objects


def type_of(object: Value) -> Value:
    """The type of an object."""
    return cast(Object, object).type


def new_reference(object: Value) -> Value:
    """The object, as a reference of the receiver's own."""
    Py_IncRef(object)
    return object


def filled(container: Value, set_item: Function, count: Operand, item: Callable[[Value], Value]) -> Value:
    """A new list or tuple of items that are made one by one. Where one is null, the caller returns null."""
    return_if(is_null(container))
    for i in counted(count):
        made = item(i)
        with if_(is_null(made)):
            Py_DecRef(container)
            return_()
        set_item(container, i, made)
    return container


@cold
def raise_through(hook: Ptr, number: I64) -> Ptr:
    """Let Python code raise what it says of a number; null."""
    argument = PyLong_FromLongLong(number)
    return_if(is_null(argument))
    PyObject_CallOneArg(hook, argument)
    Py_DecRef(argument)
    return NULL


# ---------------------------------------------------------------------------------------------------- builtins


class Builtin(Function):
    """A function that Python calls, and its row of a table of methods."""

    def __init__(self, body: Callable[..., Any], flags: int):
        super().__init__(body.__name__, body, "", False)
        self.row = body.__name__, self, flags, body.__doc__  # of type MethodDef


def builtin(body: Callable[..., Any]) -> Builtin:
    """A function for Python, whose docstring it shows. The annotations of ``body`` say what it takes: a Python int
    (``I64``), any object (``Ptr``), or what the annotation's own check lets through, which returns null with an
    exception set where it does not."""
    name, count = body.__name__, body.__code__.co_argcount

    def checked(objects: list[Value]) -> list[Value]:
        hints = list(get_type_hints(body, include_extras=True).values())
        return [_checked(hint, object, name, i) for i, (hint, object) in enumerate(zip(hints, objects, strict=False))]

    def without_arguments(self: Ptr, ignored: Ptr) -> Ptr:
        return body()

    def with_one(self: Ptr, argument: Ptr) -> Ptr:
        return body(*checked([argument]))

    def with_many(self: Ptr, arguments: Pointers, given: I64) -> Ptr:
        check_count(name, count, given)
        return body(*checked([arguments[i] for i in range(count)]))

    form: Callable[..., Any] = (without_arguments, with_one, with_many)[min(count, 2)]
    form.__name__, form.__doc__ = name, body.__doc__
    return Builtin(form, (METH_NOARGS, METH_O, METH_FASTCALL)[min(count, 2)])


def _checked(hint: Any, object: Value, name: str, position: int) -> Value:
    if hint is I64:
        return integer(object)
    for check in get_args(hint)[2:]:
        return check(object, name, position)
    return object


def check_count(name: str, wanted: Operand, got: Value) -> None:
    """Return null with TypeError set where a builtin gets another number of arguments than it takes."""
    with if_(got != wanted):
        return_(raise_count(name, wanted, got))


@cold
def raise_count(name: Ptr, wanted: I64, got: I64) -> Ptr:
    return PyErr_Format(type_error.value, "%s() takes %zd arguments, got %zd", name, wanted, got)


def integer(object: Value) -> Value:
    """A Python int as i64; the caller returns null with an exception set where it is none."""
    number = PyLong_AsLongLong(object)
    with if_(number == -1):
        return_if(~is_null(PyErr_Occurred()))
    return number


def new_none() -> Value:
    """None, as a new reference."""
    return new_reference(none.value)
