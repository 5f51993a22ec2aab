"""The type ``Storage``, an object that is a piece of memory.

Layout (all that a kernel's caller needs is ``address``)::

    0  refcount
    8  type
    16 address    first byte; 64-byte aligned where owner is NULL
    24 nbytes     as asked for
    32 owner      NULL: the block belongs to this object and goes back to the allocator with it;
                  else a strong reference to the object that keeps the memory alive (a window)
    40 class      the block's size class; of a window what it may be used for: READ_ONLY, ELSEWHERE, or neither
    48 weakrefs
    56 root       this object itself or its owner, who counts the writes of the whole family; no reference of its own
    64 version    in a root: how many writes there were
    72 watched    in a root: 1 where somebody kept the value of now (``save``) and nobody has written since
    80 note       in a root: any object, or NULL

A window on part of a Storage has that Storage's root as owner, so chains of views do not grow, and all of a family
read and write the root's version and note. A window on foreign memory, and one that ``unshared`` made, is its own root.
Memory of another device lies ELSEWHERE: its address is a number that the CPU must not follow, so the buffer protocol
refuses it. What keeps it (``keeper``) is the device's own object, and a Storage over all of it is a block as one of the
CPU's is: Python sees no owner.

The type is not tracked by the cycle collector: a cycle through ``owner`` or ``note`` is only possible when they refer
back to their window, and nothing here does that. Everything here happens with the GIL held, in any thread.
"""

from __future__ import annotations

from typing import Annotated, Any

from ...llvm.module import cold, function, static, variable
from ...llvm.text import (
    I32,
    I64,
    Operand,
    Pointers,
    Ptr,
    Value,
    at_most,
    byte_offset,
    cast,
    constant,
    field_names,
    if_,
    is_null,
    local,
    return_,
    select,
    structure,
    to_pointer,
    zero_extend,
)
from .allocator import allocate, class_of, release
from .cpython import (
    Py_DecRef,
    PyBool_FromLong,
    PyBuffer_FillInfo,
    PyErr_Format,
    PyErr_NoMemory,
    PyLong_FromLongLong,
    PyObject_ClearWeakRefs,
    PyObject_Free,
    PyObject_Init,
    PyObject_Malloc,
    PyType_FromSpec,
    PyUnicode_FromFormat,
    buffer_error,
    builtin,
    new_none,
    new_reference,
    raise_out_of_memory,
    raise_through,
    type_error,
    type_of,
    value_error,
)
from .guards import begin_guard, end_guard, with_guard

READ_ONLY, ELSEWHERE = 1 << 32, 1 << 33  # in the place of a window's size class; no size class has these bits


def check_storage(object: Value, name: Operand, position: Operand) -> Value:
    """A Storage; the caller, the function ``name``, returns null with TypeError set where it is none."""
    with if_(type_of(object) != storage_type.value):
        return_(raise_not_storage(name, position, type_of(object)))
    return cast(Storage, object)


Storage = Annotated[
    Value,
    structure(
        "Storage",
        refcount=I64,
        type=Ptr,
        address=Ptr,
        nbytes=I64,
        owner=Ptr,
        size_class=I64,
        weakrefs=Ptr,
        root=Ptr,
        version=I64,
        watched=I64,
        note=Ptr,
    ),
    check_storage,
]
SIZE = 8 * len(field_names(Storage))
storage_type = variable("storage_type", Ptr)


def root_of(storage: Value) -> Value:
    """The Storage that counts the writes."""
    return cast(Storage, storage.root)


def access_of(storage: Value) -> Value:
    """READ_ONLY for a window that cannot be written, ELSEWHERE for memory that the CPU cannot read; 0 for others."""
    return storage.size_class & (READ_ONLY | ELSEWHERE)


# ---------------------------------------------------------------------------------------------------- objects


@function
def storage_new(address: Ptr, nbytes: I64, owner: Ptr, size_class: I64, root: Ptr) -> Ptr:
    """A new Storage; takes over the reference to ``owner``. ``root``: null (itself) or the owner. Null with MemoryError
    set on failure."""
    memory = PyObject_Malloc(SIZE)
    with if_(is_null(memory)):
        return_(PyErr_NoMemory())
    PyObject_Init(memory, storage_type.value)
    self = cast(Storage, memory)
    self.address = address
    self.nbytes = nbytes
    self.owner = owner
    self.size_class = size_class
    self.weakrefs = None
    self.root = select(is_null(root), memory, root)
    self.version = 0
    self.watched = 0
    self.note = None
    return self


@function
def storage_allocate(nbytes: I64) -> Ptr:
    """A new Storage that owns a block of so many bytes. Null with OutOfMemoryError or MemoryError set."""
    size_class = class_of(with_guard(nbytes))
    block = allocate(size_class)
    with if_(is_null(block)):
        return_(raise_through(raise_out_of_memory.value, nbytes))
    begin_guard(block, nbytes)
    self = storage_new(block, nbytes, None, size_class, None)
    with if_(is_null(self)):
        release(block, size_class)
    return self


@function
def storage_dealloc(self: Storage) -> None:
    with if_(~is_null(self.weakrefs)):
        PyObject_ClearWeakRefs(self)
    type, owner, address, size_class, note = self.type, self.owner, self.address, self.size_class, self.note
    nbytes = self.nbytes
    PyObject_Free(self)
    Py_DecRef(type)
    with if_(is_null(owner)):
        end_guard(address, nbytes)
        release(address, size_class)
    # last of all, as these may run any code
    Py_DecRef(owner)
    Py_DecRef(note)


@function
def storage_getbuffer(self: Storage, view: Ptr, flags: I32) -> I32:
    """Buffer protocol: the whole memory as unsigned bytes; writable unless this is a read-only window."""
    with if_((access_of(self) & ELSEWHERE) != 0):
        PyErr_Format(buffer_error.value, "this memory is another device's; copy it to the CPU first")
        cast(Pointers, view)[0] = None  # the protocol's: no object
        return_(constant(-1, I32))
    read_only = zero_extend((access_of(self) & READ_ONLY) != 0, I32)
    return PyBuffer_FillInfo(view, self, self.address, self.nbytes, read_only, flags)


@function
def storage_repr(self: Storage) -> Ptr:
    return PyUnicode_FromFormat("<Storage of %zd bytes at %p>", self.nbytes, self.address)


@function
def window(address: Ptr, nbytes: I64, owner: Ptr, access: I64, root: Ptr) -> Ptr:
    """A Storage over memory that ``owner`` (borrowed) keeps; ``access`` as of ``access_of``, ``root`` as above."""
    storage = storage_new(address, nbytes, new_reference(owner), access, root)
    with if_(is_null(storage)):
        Py_DecRef(owner)
    return storage


@function
def part(storage: Storage, offset: I64, nbytes: I64, access: I64) -> Ptr:
    """A window on part of a Storage, with its root as owner; on a read-only window it is read-only too."""
    root = storage.root
    return window(byte_offset(storage.address, offset), nbytes, root, access_of(storage) | access, root)


@function
def rest_of(storage: Storage, offset: I64) -> Ptr:
    """The window on what follows the first bytes of a Storage."""
    with if_(~at_most(offset, storage.nbytes)):
        return_(raise_outside(offset, storage.nbytes))
    return part(storage, offset, storage.nbytes - offset, 0)


@cold
def raise_not_storage(name: Ptr, position: I64, type: Ptr) -> Ptr:
    return PyErr_Format(type_error.value, "%s() argument %zd must be a weft Storage, not %R", name, position, type)


@cold
def raise_outside(offset: I64, nbytes: I64) -> Ptr:
    return PyErr_Format(value_error.value, "tail(): offset %lld is outside of %lld bytes", offset, nbytes)


@cold
def raise_range(name: Ptr, nbytes: I64, offset: I64, size: I64) -> Ptr:
    text = "%s(): cannot take %lld bytes from offset %lld of %lld"
    return PyErr_Format(value_error.value, text, name, nbytes, offset, size)


# ---------------------------------------------------------------------------------------------------- builtins


@builtin
def empty(nbytes: I64) -> Ptr:
    """empty(nbytes): a new block, its content undefined."""
    with if_(nbytes < 0):
        return_(raise_range("empty", nbytes, 0, 0))
    return storage_allocate(nbytes)


@builtin
def wrap(address: I64, nbytes: I64, owner: Ptr) -> Ptr:
    """wrap(address, nbytes, owner): memory of another object, which is kept alive."""
    with if_(nbytes < 0):
        return_(raise_range("wrap", nbytes, 0, 0))
    access = local(I64, 0)
    with if_(type_of(owner) == storage_type.value):
        access.value = access_of(cast(Storage, owner)) & ELSEWHERE
    return window(to_pointer(address), nbytes, owner, access.value, None)


@builtin
def elsewhere(address: I64, nbytes: I64, keeper: Ptr) -> Ptr:
    """elsewhere(address, nbytes, keeper): a block in the memory of another device, which ``keeper`` gives back when it
    goes."""
    with if_(nbytes < 0):
        return_(raise_range("elsewhere", nbytes, 0, 0))
    return window(to_pointer(address), nbytes, keeper, ELSEWHERE, None)


@builtin
def view(storage: Storage, offset: I64, nbytes: I64) -> Ptr:
    """view(storage, byte_offset, nbytes): a window on a Storage, whose root is kept alive."""
    size = storage.nbytes
    with if_(~(at_most(offset, size) & at_most(nbytes, size - offset))):
        return_(raise_range("view", nbytes, offset, size))
    return part(storage, offset, nbytes, 0)


@builtin
def tail(storage: Storage, offset: I64) -> Ptr:
    """tail(storage, byte_offset): a window on a Storage from an offset to its end."""
    return rest_of(storage, offset)


@builtin
def read_only(storage: Storage) -> Ptr:
    """read_only(storage): a window on all of it that cannot be written."""
    return part(storage, 0, storage.nbytes, READ_ONLY)


@builtin
def unshared(storage: Storage) -> Ptr:
    """unshared(storage): a window on all of it that is a root of its own."""
    return window(storage.address, storage.nbytes, storage.root, access_of(storage), None)


@builtin
def save(storage: Storage) -> Ptr:
    """save(storage): the version of now, which the next write is to tell of."""
    root = root_of(storage)
    root.watched = 1
    return PyLong_FromLongLong(root.version)


@builtin
def wrote(storage: Storage) -> Ptr:
    """wrote(storage): count a write; whether somebody had saved the version before it."""
    with if_((access_of(storage) & READ_ONLY) != 0):
        return_(PyErr_Format(buffer_error.value, "wrote(): this Storage is read-only"))
    root = root_of(storage)
    root.version += 1
    watched = root.watched
    root.watched = 0
    return PyBool_FromLong(watched)


# ---------------------------------------------------------------------------------------------------- the type


@function
def storage_version(self: Storage, closure: Ptr) -> Ptr:
    return PyLong_FromLongLong(root_of(self).version)


@function
def storage_is_read_only(self: Storage, closure: Ptr) -> Ptr:
    return PyBool_FromLong(access_of(self) & READ_ONLY)


def is_kept(self: Value) -> Value:
    """Whether this is a block of another device: its owner is the device's object, not a Storage."""
    return ((self.size_class & ELSEWHERE) != 0) & (type_of(self.owner) != storage_type.value)


@function
def storage_owner(self: Storage, closure: Ptr) -> Ptr:
    with if_(~is_null(self.owner)), if_(~is_kept(self)):
        return_(new_reference(self.owner))
    return new_none()


@function
def storage_keeper(self: Storage, closure: Ptr) -> Ptr:
    with if_(~is_null(self.owner)), if_(is_kept(self)):
        return_(new_reference(self.owner))
    return new_none()


@function
def storage_note(self: Storage, closure: Ptr) -> Ptr:
    note = root_of(self).note
    with if_(is_null(note)):
        return_(new_none())
    return new_reference(note)


@function
def storage_set_note(self: Storage, value: Ptr, closure: Ptr) -> I32:
    """``value`` is null for ``del storage.note``."""
    root = root_of(self)
    old = root.note
    root.note = new_reference(value)
    Py_DecRef(old)  # may run any code, so last
    return constant(0, I32)


MemberDef = Annotated[Value, structure("MemberDef", name=Ptr, code=I32, offset=I64, flags=I32, doc=Ptr)]
GetSetDef = Annotated[Value, structure("GetSetDef", name=Ptr, get=Ptr, set=Ptr, doc=Ptr, closure=Ptr)]
TypeSlot = Annotated[Value, structure("TypeSlot", number=I32, content=Ptr)]
TypeSpec = Annotated[Value, structure("TypeSpec", name=Ptr, size=I32, item_size=I32, flags=I32, slots=Ptr)]


def _member(name: str, code: int, field: str = "") -> tuple[Any, ...]:
    """A read-only member, of a type code: 19 Py_T_PYSSIZET, 6 object (NULL reads as None)."""
    return name, code, 8 * field_names(Storage).index(field or name), 1, None


storage_members = static(
    "storage_members",
    MemberDef,
    [
        _member("address", 19),
        _member("nbytes", 19),
        _member("root", 6),
        _member("__weaklistoffset__", 19, "weakrefs"),
        None,
    ],
)
storage_getset = static(
    "storage_getset",
    GetSetDef,
    [
        ("owner", storage_owner, None, None, None),
        ("keeper", storage_keeper, None, None, None),
        ("version", storage_version, None, None, None),
        ("is_read_only", storage_is_read_only, None, None, None),
        ("note", storage_note, storage_set_note, None, None),
        None,
    ],
)
storage_slots = static(
    "storage_slots",
    TypeSlot,
    [
        (52, storage_dealloc),
        (66, storage_repr),
        (1, storage_getbuffer),
        (72, storage_members),
        (73, storage_getset),
        (56, "A piece of memory: a block of its own, or a window on the memory of its owner."),
        None,
    ],
)
# flags: Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE
storage_spec = static(
    "storage_spec", TypeSpec, ("weft.runtime.storage.Storage", SIZE, 0, 1 << 7 | 1 << 8, storage_slots)
)


@function
def make_storage_type() -> Ptr:
    """The type, which is kept; null with an exception set."""
    storage_type.value = PyType_FromSpec(storage_spec)
    return storage_type.value
