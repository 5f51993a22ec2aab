"""IR: DLPack's capsules and deleters (https://dmlc.github.io/dlpack/latest/), for structs that runtime/dlpack.py reads.

Export: ``dlpack_capsule(storage, versioned)`` makes a capsule over a managed tensor that lies at the beginning of
``storage``, whose owner keeps everything alive that the struct points to; manager_ctx holds a reference to it. The
deleter may be called by any thread, with or without the GIL, and after the interpreter has gone (then it leaks).

Import: ``dlpack_take(capsule)`` renames a peer's capsule to ``used_...``, as the protocol asks, and returns an object
that calls the peer's deleter when it dies: the owner for a Storage window.

Offsets: DLManagedTensor has manager_ctx at 48 and deleter at 56; DLManagedTensorVersioned has them at 8 and 16.
"""

from __future__ import annotations

from .cpython import strings

__all__ = ["BUILTINS", "TEXT"]

BUILTINS = {
    "dlpack_capsule": ("fast", "(storage, versioned): the capsule over the managed tensor in storage."),
    "dlpack_take": ("one", "Take over a peer's capsule: the object that owns its memory from now on."),
}

_STRINGS = strings(
    text_plain="dltensor",
    text_versioned="dltensor_versioned",
    text_used_plain="used_dltensor",
    text_used_versioned="used_dltensor_versioned",
    text_owned_plain="weft.dltensor",
    text_owned_versioned="weft.dltensor_versioned",
    text_not_dlpack="expected a capsule named dltensor or dltensor_versioned that nobody has taken yet",
)

TEXT = (
    _STRINGS
    + r"""
define internal void @delete_managed(ptr %context) {
  %alive = call i32 @Py_IsInitialized()
  %gone = icmp eq i32 %alive, 0
  br i1 %gone, label %done, label %drop
drop:
  %state = call i32 @PyGILState_Ensure()
  call void @Py_DecRef(ptr %context)
  call void @PyGILState_Release(i32 %state)
  br label %done
done:
  ret void
}

define internal void @delete_plain(ptr %managed) {
  %context_at = getelementptr i8, ptr %managed, i64 48
  %context = load ptr, ptr %context_at
  call void @delete_managed(ptr %context)
  ret void
}

define internal void @delete_versioned(ptr %managed) {
  %context_at = getelementptr i8, ptr %managed, i64 8
  %context = load ptr, ptr %context_at
  call void @delete_managed(ptr %context)
  ret void
}

; If the capsule still has this name, call the deleter at this offset of what it holds. An exception that is on its
; way stays as it is: PyCapsule_IsValid sets none, and PyCapsule_GetPointer cannot fail after it.
define internal void @destroy_named(ptr %capsule, ptr %name, i64 %deleter_offset) {
  %valid = call i32 @PyCapsule_IsValid(ptr %capsule, ptr %name)
  %named = icmp ne i32 %valid, 0
  br i1 %named, label %look, label %done
look:
  %managed = call ptr @PyCapsule_GetPointer(ptr %capsule, ptr %name)
  %deleter_at = getelementptr i8, ptr %managed, i64 %deleter_offset
  %deleter = load ptr, ptr %deleter_at
  %none = icmp eq ptr %deleter, null
  br i1 %none, label %done, label %delete
delete:
  call void %deleter(ptr %managed)
  br label %done
done:
  ret void
}

define internal void @destroy_capsule(ptr %capsule) {
  call void @destroy_named(ptr %capsule, ptr @text_plain, i64 56)
  call void @destroy_named(ptr %capsule, ptr @text_versioned, i64 16)
  call void @destroy_named(ptr %capsule, ptr @text_owned_plain, i64 56)
  call void @destroy_named(ptr %capsule, ptr @text_owned_versioned, i64 16)
  ret void
}

; dlpack_capsule(storage, versioned) -> capsule
define internal ptr @dlpack_capsule(ptr %self, ptr %arguments, i64 %count) {
  %enough = call i1 @check_count(ptr @name_dlpack_capsule, i64 2, i64 %count)
  br i1 %enough, label %parse, label %failed
parse:
  %storage = load ptr, ptr %arguments
  %good = call i1 @check_storage(ptr %storage, ptr @name_dlpack_capsule, i64 0)
  br i1 %good, label %parse_flag, label %failed
parse_flag:
  %flag_at = getelementptr ptr, ptr %arguments, i64 1
  %flag_object = load ptr, ptr %flag_at
  %argument = call { i64, i1 } @int_argument(ptr %flag_object)
  %is_int = extractvalue { i64, i1 } %argument, 1
  br i1 %is_int, label %fill, label %failed
fill:
  %flag = extractvalue { i64, i1 } %argument, 0
  %versioned = icmp ne i64 %flag, 0
  %context_offset = select i1 %versioned, i64 8, i64 48
  %deleter = select i1 %versioned, ptr @delete_versioned, ptr @delete_plain
  %name = select i1 %versioned, ptr @text_versioned, ptr @text_plain
  %address_at = getelementptr %Storage, ptr %storage, i64 0, i32 2
  %managed = load ptr, ptr %address_at
  %context_at = getelementptr i8, ptr %managed, i64 %context_offset
  store ptr %storage, ptr %context_at
  %deleter_at = getelementptr ptr, ptr %context_at, i64 1
  store ptr %deleter, ptr %deleter_at
  call void @Py_IncRef(ptr %storage)
  %capsule = call ptr @PyCapsule_New(ptr %managed, ptr %name, ptr @destroy_capsule)
  %none = icmp eq ptr %capsule, null
  br i1 %none, label %undo, label %done
undo:
  call void @Py_DecRef(ptr %storage)
  br label %done
done:
  ret ptr %capsule
failed:
  ret ptr null
}

; dlpack_take(capsule) -> capsule of our own
define internal ptr @dlpack_take(ptr %self, ptr %capsule) {
  %plain_valid = call i32 @PyCapsule_IsValid(ptr %capsule, ptr @text_plain)
  %plain = icmp ne i32 %plain_valid, 0
  %versioned_valid = call i32 @PyCapsule_IsValid(ptr %capsule, ptr @text_versioned)
  %versioned = icmp ne i32 %versioned_valid, 0
  %known = or i1 %plain, %versioned
  br i1 %known, label %take, label %refuse
take:
  %name = select i1 %plain, ptr @text_plain, ptr @text_versioned
  %used = select i1 %plain, ptr @text_used_plain, ptr @text_used_versioned
  %owned = select i1 %plain, ptr @text_owned_plain, ptr @text_owned_versioned
  %managed = call ptr @PyCapsule_GetPointer(ptr %capsule, ptr %name)
  %owner = call ptr @PyCapsule_New(ptr %managed, ptr %owned, ptr @destroy_capsule)
  %none = icmp eq ptr %owner, null
  br i1 %none, label %done, label %rename
rename:
  %ignored = call i32 @PyCapsule_SetName(ptr %capsule, ptr %used)
  br label %done
done:
  ret ptr %owner
refuse:
  %type = load ptr, ptr @py_buffer_error
  %null = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %type, ptr @text_not_dlpack)
  ret ptr null
}
"""
)
