"""IR: what the native runtime knows of CPython, libc and pthread.

Only functions are imported, never data symbols: the objects that the code needs (``None``, exception types, hooks)
come in through :data:`HOOKS`, so no relocation has to reach data of another image. Of an object's layout only the
header ``{refcount, type}`` is relied on (CPython 3.11 to 3.13, builds with the GIL).
"""

from __future__ import annotations

__all__ = ["HOOKS", "TEXT", "strings"]


def strings(**texts: str) -> str:
    """Constants ``@name``: zero-terminated ASCII strings."""
    lines = []
    for name, text in texts.items():
        escaped = "".join(c if c.isalnum() or c in " ():,.%_-/" else f"\\{ord(c):02x}" for c in text)
        lines.append(f'@{name} = private constant [{len(text) + 1} x i8] c"{escaped}\\00"')
    return "\n".join(lines) + "\n"


# The tuple that weft_native_init receives, in this order; see native/__init__.py for the hooks.
HOOKS = ("none", "type_error", "value_error", "buffer_error", "raise_out_of_memory", "raise_status")

_GLOBALS = "\n".join(f"@py_{name} = internal global ptr null" for name in HOOKS)

TEXT = (
    _GLOBALS
    + "\n"
    + strings(text_argument_count="%s() takes %zd arguments, got %zd")
    + r"""
; ---- CPython ----
%Object = type { i64, ptr }                                  ; refcount, type
%MethodDef = type { ptr, ptr, i32, ptr }                     ; name, function, flags, doc
%MemberDef = type { ptr, i32, i64, i32, ptr }                ; name, type code, offset, flags, doc
%GetSetDef = type { ptr, ptr, ptr, ptr, ptr }                ; name, get, set, doc, closure
%TypeSlot = type { i32, ptr }                                ; slot number, function
%TypeSpec = type { ptr, i32, i32, i32, ptr }                 ; name, basic size, item size, flags, slots

declare ptr @PyType_GenericAlloc(ptr, i64)
declare ptr @PyWeakref_NewRef(ptr, ptr)
declare i32 @PyList_Append(ptr, ptr)
declare i64 @PyList_Size(ptr)
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
declare ptr @PyObject_Malloc(i64)
declare void @PyObject_Free(ptr)
declare ptr @PyObject_Init(ptr, ptr)
declare void @PyObject_ClearWeakRefs(ptr)
declare ptr @PyObject_CallOneArg(ptr, ptr)
declare ptr @PyType_FromSpec(ptr)
declare i32 @PyBuffer_FillInfo(ptr, ptr, ptr, i64, i32, i32)
declare ptr @PyCFunction_NewEx(ptr, ptr, ptr)
declare ptr @PyTuple_New(i64)
declare i32 @PyTuple_SetItem(ptr, i64, ptr)
declare ptr @PyTuple_GetItem(ptr, i64)
declare ptr @PyList_New(i64)
declare i32 @PyList_SetItem(ptr, i64, ptr)
declare ptr @PyDict_New()
declare i32 @PyDict_SetItemString(ptr, ptr, ptr)
declare ptr @PyFloat_FromDouble(double)
declare ptr @PyLong_FromLongLong(i64)
declare ptr @PyBool_FromLong(i64)
declare i64 @PyLong_AsLongLong(ptr)
declare ptr @PyUnicode_FromFormat(ptr, ...)
declare ptr @PyErr_NoMemory()
declare ptr @PyErr_Occurred()
declare ptr @PyErr_Format(ptr, ptr, ...)
declare void @PyErr_Clear()
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare i32 @PyGILState_Ensure()
declare void @PyGILState_Release(i32)
declare i32 @Py_IsInitialized()
declare ptr @PyCapsule_New(ptr, ptr, ptr)
declare ptr @PyCapsule_GetPointer(ptr, ptr)
declare i32 @PyCapsule_IsValid(ptr, ptr)
declare i32 @PyCapsule_SetName(ptr, ptr)

; ---- libc ----
declare ptr @calloc(i64, i64)
declare void @free(ptr)
declare i32 @posix_memalign(ptr, i64, i64)
declare ptr @mmap(ptr, i64, i32, i32, i32, i64)
declare i32 @munmap(ptr, i64)
declare i32 @madvise(ptr, i64, i32)
declare i32 @clock_gettime(i32, ptr)
declare i32 @sigfillset(ptr)

; ---- pthread ----
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_signal(ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @pthread_attr_init(ptr)
declare i32 @pthread_attr_setstacksize(ptr, i64)
declare i32 @pthread_attr_destroy(ptr)
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_join(i64, ptr)
declare i32 @pthread_sigmask(i32, ptr, ptr)

; ---- LLVM ----
declare i64 @llvm.ctlz.i64(i64, i1 immarg)
declare i64 @llvm.umax.i64(i64, i64)
declare i64 @llvm.umin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)

; A Python int argument as i64: {value, true}, or {_, false} with the exception set.
define internal { i64, i1 } @int_argument(ptr %object) {
  %value = call i64 @PyLong_AsLongLong(ptr %object)
  %suspect = icmp eq i64 %value, -1
  br i1 %suspect, label %check, label %good
check:
  %error = call ptr @PyErr_Occurred()
  %fine = icmp eq ptr %error, null
  br i1 %fine, label %good, label %bad
good:
  %packed = insertvalue { i64, i1 } { i64 undef, i1 true }, i64 %value, 0
  ret { i64, i1 } %packed
bad:
  ret { i64, i1 } { i64 -1, i1 false }
}

; True when a builtin got the number of arguments it takes; else false with TypeError set.
define internal i1 @check_count(ptr %name, i64 %wanted, i64 %got) {
  %same = icmp eq i64 %wanted, %got
  br i1 %same, label %good, label %bad
bad:
  %type = load ptr, ptr @py_type_error
  %null = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %type, ptr @text_argument_count, ptr %name, i64 %wanted, i64 %got)
  ret i1 false
good:
  ret i1 true
}

; None, as a new reference.
define internal ptr @new_none() {
  %none = load ptr, ptr @py_none
  call void @Py_IncRef(ptr %none)
  ret ptr %none
}

%Timespec = type { i64, i64 }

; Nanoseconds of the monotonic clock.
define internal i64 @now() {
  %spec = alloca %Timespec
  %failed = call i32 @clock_gettime(i32 $CLOCK_MONOTONIC, ptr %spec)
  %seconds = load i64, ptr %spec
  %rest_at = getelementptr %Timespec, ptr %spec, i64 0, i32 1
  %rest = load i64, ptr %rest_at
  %scaled = mul i64 %seconds, 1000000000
  %time = add i64 %scaled, %rest
  ret i64 %time
}
"""
)
