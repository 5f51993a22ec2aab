"""IR: the type ``Storage``, an object that is a piece of memory.

Layout (all that a kernel's caller needs is ``address``)::

    0  refcount
    8  type
    16 address    first byte; 64-byte aligned where owner is NULL
    24 nbytes     as asked for
    32 owner      NULL: the block belongs to this object and goes back to the allocator with it;
                  else a strong reference to the object that keeps the memory alive (a window)
    40 class      the block's size class; in a window READ_ONLY (-1) or 0: whether it may be written
    48 weakrefs
    56 root       this object itself or its owner, who counts the writes of the whole family; no reference of its own
    64 version    in a root: how many writes there were
    72 watched    in a root: 1 where somebody kept the value of now (``save``) and nobody has written since
    80 note       in a root: any object, or NULL

A window on part of a Storage has that Storage's root as owner, so chains of views do not grow, and all of a family
read and write the root's version and note. A window on foreign memory, and one that ``unshared`` made, is its own root.
The type is not tracked by the cycle collector: a cycle through ``owner`` or ``note`` is only possible when they refer
back to their window, and nothing here does that. Everything here happens with the GIL held, in any thread.
"""

from __future__ import annotations

from .cpython import strings

__all__ = ["BUILTINS", "TEXT"]

BUILTINS = {
    "empty": ("one", "empty(nbytes): a new block, its content undefined."),
    "wrap": ("fast", "wrap(address, nbytes, owner): memory of another object, which is kept alive."),
    "view": ("fast", "view(storage, byte_offset, nbytes): a window on a Storage, whose root is kept alive."),
    "tail": ("fast", "tail(storage, byte_offset): a window on a Storage from an offset to its end."),
    "read_only": ("one", "read_only(storage): a window on all of it that cannot be written."),
    "unshared": ("one", "unshared(storage): a window on all of it that is a root of its own."),
    "save": ("one", "save(storage): the version of now, which the next write is to tell of."),
    "wrote": ("one", "wrote(storage): count a write; whether somebody had saved the version before it."),
}

_STRINGS = strings(
    text_not_storage="%s() argument %zd must be a weft Storage, not %R",
    text_range="%s(): cannot take %lld bytes from offset %lld of %lld",
    text_tail="tail(): offset %lld is outside of %lld bytes",
    text_not_writable="wrote(): this Storage is read-only",
    text_repr="<Storage of %zd bytes at %p>",
    text_type="weft.runtime.storage.Storage",
    text_type_doc="A piece of memory: a block of its own, or a window on the memory of its owner.",
    text_address="address",
    text_nbytes="nbytes",
    text_owner="owner",
    text_root="root",
    text_version="version",
    text_is_read_only="is_read_only",
    text_note="note",
    text_weaklist="__weaklistoffset__",
)

TEXT = (
    _STRINGS
    + r"""
%Storage = type { i64, ptr, ptr, i64, ptr, i64, ptr, ptr, i64, i64, ptr }
@storage_type = internal global ptr null

; A new Storage over (address, nbytes); takes over the reference to `owner`. `root`: null (itself) or the owner.
; Null with MemoryError set on failure.
define internal ptr @storage_new(ptr %address, i64 %nbytes, ptr %owner, i64 %class, ptr %root) {
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
  %is_root = icmp eq ptr %root, null
  %family = select i1 %is_root, ptr %memory, ptr %root
  %root_at = getelementptr %Storage, ptr %memory, i64 0, i32 7
  store ptr %family, ptr %root_at
  %version_at = getelementptr %Storage, ptr %memory, i64 0, i32 8
  store i64 0, ptr %version_at
  %watched_at = getelementptr %Storage, ptr %memory, i64 0, i32 9
  store i64 0, ptr %watched_at
  %note_at = getelementptr %Storage, ptr %memory, i64 0, i32 10
  store ptr null, ptr %note_at
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
  %self = call ptr @storage_new(ptr %block, i64 %nbytes, ptr null, i64 %class, ptr null)
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
  %note_at = getelementptr %Storage, ptr %self, i64 0, i32 10
  %note = load ptr, ptr %note_at
  call void @PyObject_Free(ptr %self)
  call void @Py_DecRef(ptr %type)
  %owned = icmp eq ptr %owner, null
  br i1 %owned, label %block, label %window
block:
  call void @release(ptr %address, i64 %class)
  br label %notes
window:
  ; last of all, as what goes with a note: this may run any code
  call void @Py_DecRef(ptr %owner)
  br label %notes
notes:
  call void @Py_DecRef(ptr %note)  ; takes null
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
  %storage = call ptr @window(ptr %pointer, i64 %nbytes, ptr %owner, i64 0, ptr null)
  ret ptr %storage
below_zero:
  %null = call ptr @raise_range(ptr @name_wrap, i64 %nbytes, i64 0, i64 0)
  ret ptr null
failed:
  ret ptr null
}

; A Storage over memory that `owner` (borrowed) keeps alive; `access` is 0 or READ_ONLY; `root` as in storage_new.
define internal ptr @window(ptr %address, i64 %nbytes, ptr %owner, i64 %access, ptr %root) {
  call void @Py_IncRef(ptr %owner)
  %storage = call ptr @storage_new(ptr %address, i64 %nbytes, ptr %owner, i64 %access, ptr %root)
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

; 0, or READ_ONLY for a window that cannot be written.
define internal i64 @access_of(ptr %storage) alwaysinline {
  %class_at = getelementptr %Storage, ptr %storage, i64 0, i32 5
  %class = load i64, ptr %class_at
  %is_read_only = icmp eq i64 %class, $READ_ONLY
  %access = select i1 %is_read_only, i64 $READ_ONLY, i64 0
  ret i64 %access
}

define internal ptr @root_of(ptr %storage) alwaysinline {
  %root_at = getelementptr %Storage, ptr %storage, i64 0, i32 7
  %root = load ptr, ptr %root_at
  ret ptr %root
}

; A window on part of a Storage, with its root as owner; a window on a read-only window is read-only too.
define internal ptr @part(ptr %storage, i64 %offset, i64 %nbytes, i64 %access) {
  %address_at = getelementptr %Storage, ptr %storage, i64 0, i32 2
  %address = load ptr, ptr %address_at
  %start = getelementptr i8, ptr %address, i64 %offset
  %given = call i64 @access_of(ptr %storage)
  %strictest = or i64 %given, %access
  %root = call ptr @root_of(ptr %storage)
  %result = call ptr @window(ptr %start, i64 %nbytes, ptr %root, i64 %strictest, ptr %root)
  ret ptr %result
}

; tail(storage, byte_offset) -> Storage
define internal ptr @tail(ptr %self, ptr %arguments, i64 %count) {
  %enough = call i1 @check_count(ptr @name_tail, i64 2, i64 %count)
  br i1 %enough, label %parse, label %failed
parse:
  %storage = load ptr, ptr %arguments
  %is_storage = call i1 @check_storage(ptr %storage, ptr @name_tail, i64 0)
  br i1 %is_storage, label %parse_offset, label %failed
parse_offset:
  %offset_object_at = getelementptr ptr, ptr %arguments, i64 1
  %offset_object = load ptr, ptr %offset_object_at
  %offset_argument = call { i64, i1 } @int_argument(ptr %offset_object)
  %offset_good = extractvalue { i64, i1 } %offset_argument, 1
  br i1 %offset_good, label %check, label %failed
check:
  %offset = extractvalue { i64, i1 } %offset_argument, 0
  %result = call ptr @rest_of(ptr %storage, i64 %offset)
  ret ptr %result
failed:
  ret ptr null
}

; The window on what follows the first bytes of a Storage.
define internal ptr @rest_of(ptr %storage, i64 %offset) {
  %size_at = getelementptr %Storage, ptr %storage, i64 0, i32 3
  %size = load i64, ptr %size_at
  %fits = icmp ule i64 %offset, %size  ; unsigned: a negative number is larger than any size
  br i1 %fits, label %build, label %outside
build:
  %rest = sub i64 %size, %offset
  %result = call ptr @part(ptr %storage, i64 %offset, i64 %rest, i64 0)
  ret ptr %result
outside:
  %error = load ptr, ptr @py_value_error
  %null = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %error, ptr @text_tail, i64 %offset, i64 %size)
  ret ptr null
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

; unshared(storage) -> Storage
define internal ptr @unshared(ptr %self, ptr %storage) {
  %good = call i1 @check_storage(ptr %storage, ptr @name_unshared, i64 0)
  br i1 %good, label %build, label %failed
build:
  %address_at = getelementptr %Storage, ptr %storage, i64 0, i32 2
  %address = load ptr, ptr %address_at
  %nbytes_at = getelementptr %Storage, ptr %storage, i64 0, i32 3
  %nbytes = load i64, ptr %nbytes_at
  %access = call i64 @access_of(ptr %storage)
  %owner = call ptr @root_of(ptr %storage)
  %result = call ptr @window(ptr %address, i64 %nbytes, ptr %owner, i64 %access, ptr null)
  ret ptr %result
failed:
  ret ptr null
}

; save(storage) -> version
define internal ptr @save(ptr %self, ptr %storage) {
  %good = call i1 @check_storage(ptr %storage, ptr @name_save, i64 0)
  br i1 %good, label %mark, label %failed
mark:
  %root = call ptr @root_of(ptr %storage)
  %watched_at = getelementptr %Storage, ptr %root, i64 0, i32 9
  store i64 1, ptr %watched_at
  %version = call ptr @storage_version(ptr %root, ptr null)
  ret ptr %version
failed:
  ret ptr null
}

; wrote(storage) -> bool
define internal ptr @wrote(ptr %self, ptr %storage) {
  %good = call i1 @check_storage(ptr %storage, ptr @name_wrote, i64 0)
  br i1 %good, label %check, label %failed
check:
  %access = call i64 @access_of(ptr %storage)
  %may = icmp eq i64 %access, 0
  br i1 %may, label %count, label %refused
count:
  %root = call ptr @root_of(ptr %storage)
  %version_at = getelementptr %Storage, ptr %root, i64 0, i32 8
  %version = load i64, ptr %version_at
  %next = add i64 %version, 1
  store i64 %next, ptr %version_at
  %watched_at = getelementptr %Storage, ptr %root, i64 0, i32 9
  %watched = load i64, ptr %watched_at
  store i64 0, ptr %watched_at
  %result = call ptr @PyBool_FromLong(i64 %watched)
  ret ptr %result
refused:
  %error = load ptr, ptr @py_buffer_error
  %null = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %error, ptr @text_not_writable)
  ret ptr null
failed:
  ret ptr null
}

; ---- attributes ----

define internal ptr @storage_version(ptr %self, ptr %closure) {
  %root = call ptr @root_of(ptr %self)
  %version_at = getelementptr %Storage, ptr %root, i64 0, i32 8
  %version = load i64, ptr %version_at
  %number = call ptr @PyLong_FromLongLong(i64 %version)
  ret ptr %number
}

define internal ptr @storage_is_read_only(ptr %self, ptr %closure) {
  %access = call i64 @access_of(ptr %self)
  %answer = call ptr @PyBool_FromLong(i64 %access)
  ret ptr %answer
}

define internal ptr @storage_note(ptr %self, ptr %closure) {
  %root = call ptr @root_of(ptr %self)
  %note_at = getelementptr %Storage, ptr %root, i64 0, i32 10
  %note = load ptr, ptr %note_at
  %none = icmp eq ptr %note, null
  br i1 %none, label %nothing, label %give
give:
  call void @Py_IncRef(ptr %note)
  ret ptr %note
nothing:
  %result = call ptr @new_none()
  ret ptr %result
}

; `value` is null for `del storage.note`.
define internal i32 @storage_set_note(ptr %self, ptr %value, ptr %closure) {
  %root = call ptr @root_of(ptr %self)
  %note_at = getelementptr %Storage, ptr %root, i64 0, i32 10
  %old = load ptr, ptr %note_at
  call void @Py_IncRef(ptr %value)
  store ptr %value, ptr %note_at
  call void @Py_DecRef(ptr %old)  ; may run any code, so last; both functions take null
  ret i32 0
}

; ---- the type ----

; type codes: 19 Py_T_PYSSIZET, 6 object (NULL reads as None); flag 1: read-only
@storage_members = internal global [6 x %MemberDef] [
  %MemberDef { ptr @text_address, i32 19, i64 16, i32 1, ptr null },
  %MemberDef { ptr @text_nbytes, i32 19, i64 24, i32 1, ptr null },
  %MemberDef { ptr @text_owner, i32 6, i64 32, i32 1, ptr null },
  %MemberDef { ptr @text_root, i32 6, i64 56, i32 1, ptr null },
  %MemberDef { ptr @text_weaklist, i32 19, i64 48, i32 1, ptr null },
  %MemberDef zeroinitializer ]

@storage_getset = internal global [4 x %GetSetDef] [
  %GetSetDef { ptr @text_version, ptr @storage_version, ptr null, ptr null, ptr null },
  %GetSetDef { ptr @text_is_read_only, ptr @storage_is_read_only, ptr null, ptr null, ptr null },
  %GetSetDef { ptr @text_note, ptr @storage_note, ptr @storage_set_note, ptr null, ptr null },
  %GetSetDef zeroinitializer ]

; slots: 52 tp_dealloc, 66 tp_repr, 1 bf_getbuffer, 72 tp_members, 73 tp_getset, 56 tp_doc
@storage_slots = internal global [7 x %TypeSlot] [
  %TypeSlot { i32 52, ptr @storage_dealloc },
  %TypeSlot { i32 66, ptr @storage_repr },
  %TypeSlot { i32 1, ptr @storage_getbuffer },
  %TypeSlot { i32 72, ptr @storage_members },
  %TypeSlot { i32 73, ptr @storage_getset },
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
