"""DLPack's capsules and deleters (https://dmlc.github.io/dlpack/latest/), for structs that runtime/dlpack.py reads.

Export: ``dlpack_capsule(storage, versioned)`` makes a capsule over a managed tensor that lies at the beginning of
``storage``, whose owner keeps everything alive that the struct points to; manager_ctx holds a reference to it. The
deleter may be called by any thread, with or without the GIL, and after the interpreter has gone (then it leaks).

Import: ``dlpack_take(capsule)`` renames a peer's capsule to ``used_...``, as the protocol asks, and returns an object
that calls the peer's deleter when it dies: the owner for a Storage window.

Offsets: DLManagedTensor has manager_ctx at 48 and deleter at 56; DLManagedTensorVersioned has them at 8 and 16.
"""

from __future__ import annotations

from typing import NamedTuple

from ...llvm.module import Function, function, invoke
from ...llvm.text import I64, Pointers, Ptr, Value, cast, if_, is_null, return_, return_if, select
from .cpython import (
    Py_DecRef,
    Py_IncRef,
    Py_IsInitialized,
    PyCapsule_GetPointer,
    PyCapsule_IsValid,
    PyCapsule_New,
    PyCapsule_SetName,
    PyErr_Format,
    PyGILState_Ensure,
    PyGILState_Release,
    buffer_error,
    builtin,
)
from .storage import Storage


@function
def delete_managed(context: Ptr) -> None:
    with if_(Py_IsInitialized() != 0):
        state = PyGILState_Ensure()
        Py_DecRef(context)
        PyGILState_Release(state)


@function
def delete_plain(managed: Pointers) -> None:
    delete_managed(managed[_PLAIN.context])


@function
def delete_versioned(managed: Pointers) -> None:
    delete_managed(managed[_VERSIONED.context])


class _Form(NamedTuple):
    """One of the two protocols: the capsule's name, the words of manager_ctx and of the deleter behind it, ours."""

    name: str
    context: int
    delete: Function


_PLAIN, _VERSIONED = _Form("dltensor", 6, delete_plain), _Form("dltensor_versioned", 1, delete_versioned)


@function
def destroy_named(capsule: Ptr, name: Ptr, context: I64) -> None:
    """If the capsule still has this name, call the deleter of what it holds. An exception that is on its way stays as
    it is: PyCapsule_IsValid sets none, and PyCapsule_GetPointer cannot fail after it."""
    return_if(PyCapsule_IsValid(capsule, name) == 0)
    managed = cast(Pointers, PyCapsule_GetPointer(capsule, name))
    deleter = managed[context + 1]
    with if_(~is_null(deleter)):
        invoke(deleter, None, managed)


@function
def destroy_capsule(capsule: Ptr) -> None:
    for form in (_PLAIN, _VERSIONED):
        destroy_named(capsule, form.name, form.context)
        destroy_named(capsule, f"weft.{form.name}", form.context)


@builtin
def dlpack_capsule(storage: Storage, versioned: I64) -> Ptr:
    """(storage, versioned): the capsule over the managed tensor in storage."""
    managed = cast(Pointers, storage.address)

    def of_form(plain: Value | int | str, other: Value | int | str) -> Value:
        return select(versioned == 0, plain, other)

    context = of_form(_PLAIN.context, _VERSIONED.context)
    managed[context] = storage
    managed[context + 1] = of_form(_PLAIN.delete.address, _VERSIONED.delete.address)
    Py_IncRef(storage)
    capsule = PyCapsule_New(managed, of_form(_PLAIN.name, _VERSIONED.name), destroy_capsule.address)
    with if_(is_null(capsule)):
        Py_DecRef(storage)
    return capsule


@builtin
def dlpack_take(capsule: Ptr) -> Ptr:
    """Take over a peer's capsule: the object that owns its memory from now on."""
    for form in (_PLAIN, _VERSIONED):
        with if_(PyCapsule_IsValid(capsule, form.name) != 0):
            managed = PyCapsule_GetPointer(capsule, form.name)
            owner = PyCapsule_New(managed, f"weft.{form.name}", destroy_capsule.address)
            with if_(~is_null(owner)):
                PyCapsule_SetName(capsule, f"used_{form.name}")
            return_(owner)
    text = "expected a capsule named dltensor or dltensor_versioned that nobody has taken yet"
    return PyErr_Format(buffer_error.value, text)
