"""IR: a tensor, or a view of one, in one call, since little else happens where these are made.

``make(storage, spec, node, index)`` makes a Tensor of its parts: an object of the type that ``make_kind`` was given.

``look(source, spec, offset, step, tracked, layout)`` makes what tensor/dispatch.py describes in Python
(``view_in_steps``): the window on the memory, the Tensor, its View, and the weak reference that the base has to it.
``layout`` is a tuple of what Python knows of the classes: (Tensor, View, 0, TRACKED, DETACHED, function that clears a
list of dead references). Where the slots of the classes lie is fixed by CPython (``type_new``: in the order of their
names, after the header); tensor/dispatch.py checks that the first view that is made is right, and does without
otherwise.
"""

from __future__ import annotations

__all__ = ["BUILTINS", "TEXT"]

BUILTINS = {
    "look": ("fast", "look(source, spec, offset, step, kind, layout): a view of a tensor, or None."),
    "make": ("fast", "make(storage, spec, node, index): a tensor of these parts."),
    "make_kind": ("one", "make_kind(type): what make makes, from now on."),
}

TEXT = r"""
; refcount, type, then the slots: _index, _node, _spec, _storage, _view, _views; above, base, kind, step
%Tensor = type { i64, ptr, ptr, ptr, ptr, ptr, ptr, ptr }
%View = type { i64, ptr, ptr, ptr, ptr, ptr }

@made_type = internal global ptr null

define internal ptr @make_kind(ptr %self, ptr %type) {
  call void @Py_IncRef(ptr %type)  ; for good
  store ptr %type, ptr @made_type
  %none = load ptr, ptr @py_none
  call void @Py_IncRef(ptr %none)
  ret ptr %none
}

; make(storage, spec, node, index) -> Tensor
define internal ptr @make(ptr %self, ptr %arguments, i64 %count) {
  %enough = call i1 @check_count(ptr @name_make, i64 4, i64 %count)
  br i1 %enough, label %parse, label %failed
parse:
  %type = load ptr, ptr @made_type
  %storage = load ptr, ptr %arguments
  %spec_at = getelementptr ptr, ptr %arguments, i64 1
  %spec = load ptr, ptr %spec_at
  %node_at = getelementptr ptr, ptr %arguments, i64 2
  %node = load ptr, ptr %node_at
  %index_at = getelementptr ptr, ptr %arguments, i64 3
  %index = load ptr, ptr %index_at
  %made = call ptr @tensor_of(ptr %type, ptr %storage, ptr %spec, ptr %node, ptr %index)
  ret ptr %made
failed:
  ret ptr null
}

; A tensor of these parts that is no view and has none.
define internal ptr @tensor_of(ptr %type, ptr %storage, ptr %spec, ptr %node, ptr %index) {
  %made = call ptr @PyType_GenericAlloc(ptr %type, i64 0)
  %no_tensor = icmp eq ptr %made, null
  br i1 %no_tensor, label %failed, label %fill
fill:
  %none = load ptr, ptr @py_none
  call void @Py_IncRef(ptr %storage)
  call void @Py_IncRef(ptr %spec)
  call void @Py_IncRef(ptr %node)
  call void @Py_IncRef(ptr %index)
  call void @Py_IncRef(ptr %none)
  call void @Py_IncRef(ptr %none)
  %index_slot = getelementptr %Tensor, ptr %made, i64 0, i32 2
  store ptr %index, ptr %index_slot
  %node_slot = getelementptr %Tensor, ptr %made, i64 0, i32 3
  store ptr %node, ptr %node_slot
  %spec_slot = getelementptr %Tensor, ptr %made, i64 0, i32 4
  store ptr %spec, ptr %spec_slot
  %storage_slot = getelementptr %Tensor, ptr %made, i64 0, i32 5
  store ptr %storage, ptr %storage_slot
  %view_slot = getelementptr %Tensor, ptr %made, i64 0, i32 6
  store ptr %none, ptr %view_slot
  %views_slot = getelementptr %Tensor, ptr %made, i64 0, i32 7
  store ptr %none, ptr %views_slot
  ret ptr %made
failed:
  ret ptr null
}

; look(source, spec, offset, step, kind, layout) -> Tensor; None where the source has no memory
define internal ptr @look(ptr %self, ptr %arguments, i64 %count) {
  %enough = call i1 @check_count(ptr @name_look, i64 6, i64 %count)
  br i1 %enough, label %parse, label %failed
parse:
  %source = load ptr, ptr %arguments
  %spec_at = getelementptr ptr, ptr %arguments, i64 1
  %spec = load ptr, ptr %spec_at
  %offset_object_at = getelementptr ptr, ptr %arguments, i64 2
  %offset_object = load ptr, ptr %offset_object_at
  %step_at = getelementptr ptr, ptr %arguments, i64 3
  %step = load ptr, ptr %step_at
  %kind_at = getelementptr ptr, ptr %arguments, i64 4
  %kind = load ptr, ptr %kind_at
  %layout_at = getelementptr ptr, ptr %arguments, i64 5
  %layout = load ptr, ptr %layout_at
  %tensor_type = call ptr @PyTuple_GetItem(ptr %layout, i64 0)
  %view_type = call ptr @PyTuple_GetItem(ptr %layout, i64 1)
  %zero = call ptr @PyTuple_GetItem(ptr %layout, i64 2)
  %tracked = call ptr @PyTuple_GetItem(ptr %layout, i64 3)
  %detached = call ptr @PyTuple_GetItem(ptr %layout, i64 4)
  %clear = call ptr @PyTuple_GetItem(ptr %layout, i64 5)
  %none = load ptr, ptr @py_none
  %storage_at = getelementptr %Tensor, ptr %source, i64 0, i32 5
  %storage = load ptr, ptr %storage_at
  %kind_of_storage_at = getelementptr %Object, ptr %storage, i64 0, i32 1
  %kind_of_storage = load ptr, ptr %kind_of_storage_at
  %wanted = load ptr, ptr @storage_type
  %has_memory = icmp eq ptr %kind_of_storage, %wanted
  br i1 %has_memory, label %parse_offset, label %nothing
parse_offset:
  %offset_argument = call { i64, i1 } @int_argument(ptr %offset_object)
  %offset_good = extractvalue { i64, i1 } %offset_argument, 1
  br i1 %offset_good, label %memory, label %failed
memory:
  %offset = extractvalue { i64, i1 } %offset_argument, 0
  %same = icmp eq i64 %offset, 0
  br i1 %same, label %whole, label %window
whole:
  call void @Py_IncRef(ptr %storage)
  br label %tensor
window:
  %part = call ptr @rest_of(ptr %storage, i64 %offset)
  %no_part = icmp eq ptr %part, null
  br i1 %no_part, label %failed, label %tensor
tensor:
  %shown = phi ptr [ %storage, %whole ], [ %part, %window ]
  %made = call ptr @tensor_of(ptr %tensor_type, ptr %shown, ptr %spec, ptr %none, ptr %zero)
  call void @Py_DecRef(ptr %shown)
  %no_tensor = icmp eq ptr %made, null
  br i1 %no_tensor, label %failed, label %fill
fill:
  %view = call ptr @PyType_GenericAlloc(ptr %view_type, i64 0)
  %no_view = icmp eq ptr %view, null
  br i1 %no_view, label %drop_tensor, label %whose
whose:
  %view_slot = getelementptr %Tensor, ptr %made, i64 0, i32 6
  store ptr %view, ptr %view_slot
  call void @Py_DecRef(ptr %none)  ; which was there
  %of_at = getelementptr %Tensor, ptr %source, i64 0, i32 6
  %of = load ptr, ptr %of_at
  %of_none = icmp eq ptr %of, %none
  %of_unset = icmp eq ptr %of, null
  %is_base = or i1 %of_none, %of_unset
  br i1 %is_base, label %of_base, label %of_view
of_view:
  %of_kind_at = getelementptr %View, ptr %of, i64 0, i32 4
  %of_kind = load ptr, ptr %of_kind_at
  %begins = icmp eq ptr %of_kind, %detached
  br i1 %begins, label %of_base, label %further
further:
  %of_base_at = getelementptr %View, ptr %of, i64 0, i32 3
  %base_of = load ptr, ptr %of_base_at
  %follows = icmp eq ptr %kind, %tracked
  %kind_of_view = select i1 %follows, ptr %of_kind, ptr %kind
  br label %link
of_base:
  br label %link
link:
  %base = phi ptr [ %base_of, %further ], [ %source, %of_base ]
  %above = phi ptr [ %of, %further ], [ %none, %of_base ]
  %how = phi ptr [ %kind_of_view, %further ], [ %kind, %of_base ]
  call void @Py_IncRef(ptr %base)
  call void @Py_IncRef(ptr %above)
  call void @Py_IncRef(ptr %how)
  call void @Py_IncRef(ptr %step)
  %above_slot = getelementptr %View, ptr %view, i64 0, i32 2
  store ptr %above, ptr %above_slot
  %base_slot = getelementptr %View, ptr %view, i64 0, i32 3
  store ptr %base, ptr %base_slot
  %kind_slot = getelementptr %View, ptr %view, i64 0, i32 4
  store ptr %how, ptr %kind_slot
  %step_slot = getelementptr %View, ptr %view, i64 0, i32 5
  store ptr %step, ptr %step_slot
  %known_at = getelementptr %Tensor, ptr %base, i64 0, i32 7
  %known = load ptr, ptr %known_at
  %first = icmp eq ptr %known, %none
  br i1 %first, label %begin_list, label %append
begin_list:
  %fresh = call ptr @PyList_New(i64 0)
  %no_list = icmp eq ptr %fresh, null
  br i1 %no_list, label %drop_tensor, label %keep_list
keep_list:
  store ptr %fresh, ptr %known_at
  call void @Py_DecRef(ptr %none)
  br label %append
append:
  %list = phi ptr [ %known, %link ], [ %fresh, %keep_list ]
  call void @Py_IncRef(ptr %list)  ; what is allocated now may collect garbage, and that put another list there
  %reference = call ptr @PyWeakref_NewRef(ptr %made, ptr null)
  %no_reference = icmp eq ptr %reference, null
  br i1 %no_reference, label %drop_list, label %add
add:
  %added = call i32 @PyList_Append(ptr %list, ptr %reference)
  call void @Py_DecRef(ptr %reference)
  %refused = icmp ne i32 %added, 0
  br i1 %refused, label %drop_list, label %counted
counted:
  %length = call i64 @PyList_Size(ptr %list)
  %many = icmp uge i64 %length, 16
  %less = sub i64 %length, 1
  %common = and i64 %length, %less
  %power = icmp eq i64 %common, 0
  %due = and i1 %many, %power
  br i1 %due, label %clear_dead, label %done
clear_dead:
  %cleared = call ptr @PyObject_CallOneArg(ptr %clear, ptr %list)
  %not_cleared = icmp eq ptr %cleared, null
  br i1 %not_cleared, label %drop_list, label %drop_result
drop_result:
  call void @Py_DecRef(ptr %cleared)
  br label %done
done:
  call void @Py_DecRef(ptr %list)
  ret ptr %made
drop_list:
  call void @Py_DecRef(ptr %list)
  br label %drop_tensor
drop_tensor:
  call void @Py_DecRef(ptr %made)
  ret ptr null
nothing:
  call void @Py_IncRef(ptr %none)
  ret ptr %none
failed:
  ret ptr null
}
"""
