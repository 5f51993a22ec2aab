"""IR: the type ``Storage``, an object that is a piece of memory.

Layout (all that a kernel's caller needs is ``address``)::

    0  refcount
    8  type
    16 address    first byte; 64-byte aligned where owner is NULL
    24 nbytes     as asked for
    32 owner      NULL: the block belongs to this object and goes back to the allocator with it;
                  else a strong reference to the object that keeps the memory alive (a window)
    40 class      the block's size class; in a window READ_ONLY (-1) or 0: whether its buffer is given as read-only
    48 weakrefs

A view of a Storage refers to the root, so chains of views do not grow. The type is not tracked by the cycle
collector: a cycle through ``owner`` is only possible when an owner refers back to its window, and nothing here does
that. Freed with the GIL held, from any thread.
"""

from __future__ import annotations

from .cpython import strings

__all__ = ["BUILTINS", "TEXT"]

BUILTINS = {
    "empty": ("one", "empty(nbytes): a new block, its content undefined."),
    "wrap": ("fast", "wrap(address, nbytes, owner): memory of another object, which is kept alive."),
    "view": ("fast", "view(storage, byte_offset, nbytes): a window on a Storage, whose root is kept alive."),
    "read_only": ("one", "read_only(storage): a window on all of it whose buffer cannot be written."),
}

_STRINGS = strings(
    text_not_storage="%s() argument %zd must be a weft Storage, not %R",
    text_range="%s(): cannot take %lld bytes from offset %lld of %lld",
    text_repr="<Storage of %zd bytes at %p>",
    text_type="weft.runtime.storage.Storage",
    text_type_doc="A piece of memory: a block of its own, or a window on the memory of its owner.",
    text_address="address",
    text_nbytes="nbytes",
    text_owner="owner",
    text_weaklist="__weaklistoffset__",
)

TEXT = (
    _STRINGS
    + r"""
%Storage = type { i64, ptr, ptr, i64, ptr, i64, ptr }
@storage_type = internal global ptr null

; A new Storage over (address, nbytes); takes over the reference to `owner`. Null with MemoryError set on failure.
define internal ptr @storage_new(ptr %address, i64 %nbytes, ptr %owner, i64 %class) {
  %memory = call ptr @PyObject_Malloc(i64 $STORAGE_SIZE)
  %failed = icmp eq ptr %memory, null
  br i1 %failed, label %refused, label %fill
fill:
  %type = load ptr, ptr @storage_type
  %self = call ptr @PyObject_Init(ptr %memory, ptr %type)
  %address_at = getelementptr %Storage, ptr %memory, i64 0, i32 2
  store ptr %address, ptr %address_at
  %nbytes_at = getelementptr %Storage, ptr %memory, i64 0, i32 3
  store i64 %nbytes, ptr %nbytes_at
  %owner_at = getelementptr %Storage, ptr %memory, i64 0, i32 4
  store ptr %owner, ptr %owner_at
  %class_at = getelementptr %Storage, ptr %memory, i64 0, i32 5
  store i64 %class, ptr %class_at
  %weakrefs_at = getelementptr %Storage, ptr %memory, i64 0, i32 6
  store ptr null, ptr %weakrefs_at
  ret ptr %memory
refused:
  %ignored = call ptr @PyErr_NoMemory()
  ret ptr null
}

; A new Storage that owns a block of `nbytes`. Null with OutOfMemoryError or MemoryError set.
define internal ptr @storage_allocate(i64 %nbytes) {
  %got = call { ptr, i64 } @allocate(i64 %nbytes)
  %block = extractvalue { ptr, i64 } %got, 0
  %class = extractvalue { ptr, i64 } %got, 1
  %none = icmp eq ptr %block, null
  br i1 %none, label %refused, label %wrap
wrap:
  %self = call ptr @storage_new(ptr %block, i64 %nbytes, ptr null, i64 %class)
  %failed = icmp eq ptr %self, null
  br i1 %failed, label %give_back, label %done
give_back:
  call void @release(ptr %block, i64 %class)
  br label %done
done:
  ret ptr %self
refused:
  call void @raise_out_of_memory(i64 %nbytes)
  ret ptr null
}

define internal void @storage_dealloc(ptr %self) {
  %type_at = getelementptr %Storage, ptr %self, i64 0, i32 1
  %type = load ptr, ptr %type_at
  %weakrefs_at = getelementptr %Storage, ptr %self, i64 0, i32 6
  %weakrefs = load ptr, ptr %weakrefs_at
  %plain = icmp eq ptr %weakrefs, null
  br i1 %plain, label %memory, label %clear
clear:
  call void @PyObject_ClearWeakRefs(ptr %self)
  br label %memory
memory:
  %owner_at = getelementptr %Storage, ptr %self, i64 0, i32 4
  %owner = load ptr, ptr %owner_at
  %address_at = getelementptr %Storage, ptr %self, i64 0, i32 2
  %address = load ptr, ptr %address_at
  %class_at = getelementptr %Storage, ptr %self, i64 0, i32 5
  %class = load i64, ptr %class_at
  call void @PyObject_Free(ptr %self)
  call void @Py_DecRef(ptr %type)
  %owned = icmp eq ptr %owner, null
  br i1 %owned, label %block, label %window
block:
  call void @release(ptr %address, i64 %class)
  ret void
window:
  ; last of all: this may run any code
  call void @Py_DecRef(ptr %owner)
  ret void
}

; True when `object` is a Storage; else false with TypeError set, naming the builtin and the argument's position.
define internal i1 @check_storage(ptr %object, ptr %name, i64 %position) alwaysinline {
  %type_at = getelementptr %Object, ptr %object, i64 0, i32 1
  %type = load ptr, ptr %type_at
  %wanted = load ptr, ptr @storage_type
  %same = icmp eq ptr %type, %wanted
  br i1 %same, label %good, label %bad
bad:
  %error = load ptr, ptr @py_type_error
  %null = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %error, ptr @text_not_storage, ptr %name, i64 %position, ptr %type)
  ret i1 false
good:
  ret i1 true
}

; Buffer protocol: the whole memory as unsigned bytes; writable unless this is a read-only window.
define internal i32 @storage_getbuffer(ptr %self, ptr %view, i32 %flags) {
  %address_at = getelementptr %Storage, ptr %self, i64 0, i32 2
  %address = load ptr, ptr %address_at
  %nbytes_at = getelementptr %Storage, ptr %self, i64 0, i32 3
  %nbytes = load i64, ptr %nbytes_at
  %class_at = getelementptr %Storage, ptr %self, i64 0, i32 5
  %class = load i64, ptr %class_at
  %is_read_only = icmp eq i64 %class, $READ_ONLY
  %read_only = zext i1 %is_read_only to i32
  %result = call i32 @PyBuffer_FillInfo(ptr %view, ptr %self, ptr %address, i64 %nbytes, i32 %read_only, i32 %flags)
  ret i32 %result
}

define internal ptr @storage_repr(ptr %self) {
  %address_at = getelementptr %Storage, ptr %self, i64 0, i32 2
  %address = load ptr, ptr %address_at
  %nbytes_at = getelementptr %Storage, ptr %self, i64 0, i32 3
  %nbytes = load i64, ptr %nbytes_at
  %text = call ptr (ptr, ...) @PyUnicode_FromFormat(ptr @text_repr, i64 %nbytes, ptr %address)
  ret ptr %text
}

; ---- builtins ----

define internal ptr @raise_range(ptr %name, i64 %nbytes, i64 %offset, i64 %size) noinline {
  %error = load ptr, ptr @py_value_error
  %null = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %error, ptr @text_range, ptr %name, i64 %nbytes, i64 %offset,
                                                 i64 %size)
  ret ptr null
}

; empty(nbytes) -> Storage
define internal ptr @empty(ptr %self, ptr %object) {
  %nbytes = call i64 @PyLong_AsLongLong(ptr %object)
  %negative = icmp slt i64 %nbytes, 0
  br i1 %negative, label %check, label %good
good:
  %storage = call ptr @storage_allocate(i64 %nbytes)
  ret ptr %storage
check:
  %error = call ptr @PyErr_Occurred()
  %is_size = icmp eq ptr %error, null
  br i1 %is_size, label %below_zero, label %failed
below_zero:
  %null = call ptr @raise_range(ptr @name_empty, i64 %nbytes, i64 0, i64 0)
  ret ptr null
failed:
  ret ptr null
}

; wrap(address, nbytes, owner) -> Storage
define internal ptr @wrap(ptr %self, ptr %arguments, i64 %count) {
  %enough = call i1 @check_count(ptr @name_wrap, i64 3, i64 %count)
  br i1 %enough, label %parse, label %failed
parse:
  %address_object = load ptr, ptr %arguments
  %address_argument = call { i64, i1 } @int_argument(ptr %address_object)
  %address_good = extractvalue { i64, i1 } %address_argument, 1
  br i1 %address_good, label %parse_nbytes, label %failed
parse_nbytes:
  %address = extractvalue { i64, i1 } %address_argument, 0
  %nbytes_object_at = getelementptr ptr, ptr %arguments, i64 1
  %nbytes_object = load ptr, ptr %nbytes_object_at
  %nbytes_argument = call { i64, i1 } @int_argument(ptr %nbytes_object)
  %nbytes_good = extractvalue { i64, i1 } %nbytes_argument, 1
  br i1 %nbytes_good, label %check, label %failed
check:
  %nbytes = extractvalue { i64, i1 } %nbytes_argument, 0
  %negative = icmp slt i64 %nbytes, 0
  br i1 %negative, label %below_zero, label %build
build:
  %owner_at = getelementptr ptr, ptr %arguments, i64 2
  %owner = load ptr, ptr %owner_at
  %pointer = inttoptr i64 %address to ptr
  %storage = call ptr @window(ptr %pointer, i64 %nbytes, ptr %owner, i64 0)
  ret ptr %storage
below_zero:
  %null = call ptr @raise_range(ptr @name_wrap, i64 %nbytes, i64 0, i64 0)
  ret ptr null
failed:
  ret ptr null
}

; A Storage over memory that `owner` (borrowed) keeps alive; `access` is 0 or READ_ONLY.
define internal ptr @window(ptr %address, i64 %nbytes, ptr %owner, i64 %access) {
  call void @Py_IncRef(ptr %owner)
  %storage = call ptr @storage_new(ptr %address, i64 %nbytes, ptr %owner, i64 %access)
  %failed = icmp eq ptr %storage, null
  br i1 %failed, label %undo, label %done
undo:
  call void @Py_DecRef(ptr %owner)
  br label %done
done:
  ret ptr %storage
}

; view(storage, byte_offset, nbytes) -> Storage
define internal ptr @view(ptr %self, ptr %arguments, i64 %count) {
  %enough = call i1 @check_count(ptr @name_view, i64 3, i64 %count)
  br i1 %enough, label %parse, label %failed
parse:
  %storage = load ptr, ptr %arguments
  %is_storage = call i1 @check_storage(ptr %storage, ptr @name_view, i64 0)
  br i1 %is_storage, label %parse_offset, label %failed
parse_offset:
  %offset_object_at = getelementptr ptr, ptr %arguments, i64 1
  %offset_object = load ptr, ptr %offset_object_at
  %offset_argument = call { i64, i1 } @int_argument(ptr %offset_object)
  %offset_good = extractvalue { i64, i1 } %offset_argument, 1
  br i1 %offset_good, label %parse_nbytes, label %failed
parse_nbytes:
  %nbytes_object_at = getelementptr ptr, ptr %arguments, i64 2
  %nbytes_object = load ptr, ptr %nbytes_object_at
  %nbytes_argument = call { i64, i1 } @int_argument(ptr %nbytes_object)
  %nbytes_good = extractvalue { i64, i1 } %nbytes_argument, 1
  br i1 %nbytes_good, label %check, label %failed
check:
  %offset = extractvalue { i64, i1 } %offset_argument, 0
  %nbytes = extractvalue { i64, i1 } %nbytes_argument, 0
  %size_at = getelementptr %Storage, ptr %storage, i64 0, i32 3
  %size = load i64, ptr %size_at
  ; unsigned: a negative number is larger than any size
  %offset_fits = icmp ule i64 %offset, %size
  %rest = sub i64 %size, %offset
  %nbytes_fits = icmp ule i64 %nbytes, %rest
  %fits = and i1 %offset_fits, %nbytes_fits
  br i1 %fits, label %build, label %outside
build:
  %result = call ptr @part(ptr %storage, i64 %offset, i64 %nbytes, i64 0)
  ret ptr %result
outside:
  %null = call ptr @raise_range(ptr @name_view, i64 %nbytes, i64 %offset, i64 %size)
  ret ptr null
failed:
  ret ptr null
}

; A window on part of a Storage, with its root as owner; a window on a read-only window is read-only too.
define internal ptr @part(ptr %storage, i64 %offset, i64 %nbytes, i64 %access) {
  %address_at = getelementptr %Storage, ptr %storage, i64 0, i32 2
  %address = load ptr, ptr %address_at
  %start = getelementptr i8, ptr %address, i64 %offset
  %owner_at = getelementptr %Storage, ptr %storage, i64 0, i32 4
  %owner = load ptr, ptr %owner_at
  %is_block = icmp eq ptr %owner, null
  br i1 %is_block, label %of_block, label %of_window
of_block:
  %first = call ptr @window(ptr %start, i64 %nbytes, ptr %storage, i64 %access)
  ret ptr %first
of_window:
  %class_at = getelementptr %Storage, ptr %storage, i64 0, i32 5
  %class = load i64, ptr %class_at
  %strictest = or i64 %class, %access
  %further = call ptr @window(ptr %start, i64 %nbytes, ptr %owner, i64 %strictest)
  ret ptr %further
}

; read_only(storage) -> Storage
define internal ptr @read_only(ptr %self, ptr %storage) {
  %good = call i1 @check_storage(ptr %storage, ptr @name_read_only, i64 0)
  br i1 %good, label %build, label %failed
build:
  %nbytes_at = getelementptr %Storage, ptr %storage, i64 0, i32 3
  %nbytes = load i64, ptr %nbytes_at
  %result = call ptr @part(ptr %storage, i64 0, i64 %nbytes, i64 $READ_ONLY)
  ret ptr %result
failed:
  ret ptr null
}

; ---- the type ----

; type codes: 19 Py_T_PYSSIZET, 6 object (NULL reads as None); flag 1: read-only
@storage_members = internal global [5 x %MemberDef] [
  %MemberDef { ptr @text_address, i32 19, i64 16, i32 1, ptr null },
  %MemberDef { ptr @text_nbytes, i32 19, i64 24, i32 1, ptr null },
  %MemberDef { ptr @text_owner, i32 6, i64 32, i32 1, ptr null },
  %MemberDef { ptr @text_weaklist, i32 19, i64 48, i32 1, ptr null },
  %MemberDef zeroinitializer ]

; slots: 52 tp_dealloc, 66 tp_repr, 1 bf_getbuffer, 72 tp_members, 56 tp_doc
@storage_slots = internal global [6 x %TypeSlot] [
  %TypeSlot { i32 52, ptr @storage_dealloc },
  %TypeSlot { i32 66, ptr @storage_repr },
  %TypeSlot { i32 1, ptr @storage_getbuffer },
  %TypeSlot { i32 72, ptr @storage_members },
  %TypeSlot { i32 56, ptr @text_type_doc },
  %TypeSlot zeroinitializer ]

; flags: 384 = Py_TPFLAGS_DISALLOW_INSTANTIATION (1 << 7) | Py_TPFLAGS_IMMUTABLETYPE (1 << 8)
@storage_spec = internal global %TypeSpec { ptr @text_type, i32 $STORAGE_SIZE, i32 0, i32 384, ptr @storage_slots }

define internal ptr @make_storage_type() {
  %type = call ptr @PyType_FromSpec(ptr @storage_spec)
  store ptr %type, ptr @storage_type
  ret ptr %type
}
"""
)
