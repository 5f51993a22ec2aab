"""IR: the program runner, one native call for a whole table of kernels.

The table is a block of 64-bit words that program.py lays out::

    %Program   inputs, outputs, constants    numbers of slots of each kind
               arena_nbytes                  0: no arena
               steps                         number of steps
               max_buffers                   largest number of buffers of a step
               release_gil, parallel         flags; parallel: some step has more units than its grain
               output_nbytes                 -> outputs x i64
               constant_addresses            -> constants x ptr
               table                         -> steps x %Step
    %Step      kernel, ints -> i64..., buffers -> (slot, byte offset)..., buffer count, units, grain

Slots are numbered inputs, outputs, constants, arena. A call fills a row of base addresses on its own stack, so the
table is never written and calls may overlap. Order of a call, with the GIL: check the arguments, allocate outputs and
arena, take a scratch region and, if it is free, the pool. Then, without the GIL if the program says so: the steps.
Then, with the GIL: give everything back, and return the outputs, or drop them and raise the status.
"""

from __future__ import annotations

from .cpython import strings

__all__ = ["BUILTINS", "METHODS", "TEXT"]

BUILTINS = {
    "program_bind": ("one", "The two callables (call, profile) of a program's table, a Storage."),
    "parallel_for": ("fast", "(kernel, bufs, ints, units, grain): run on the pool; addresses of the ABI's arrays."),
}
# builtins whose self is a program's table; made by program_bind
METHODS = {
    "program_call": ("fast", "Run the program: call(*inputs) -> Storage | tuple[Storage, ...] | None."),
    "program_profile": ("fast", "Run the program, drop its outputs; the seconds of each step."),
}

TEXT = (
    strings(text_program="program")
    + r"""
%Program = type { i64, i64, i64, i64, i64, i64, i64, i64, ptr, ptr, ptr }
%Step = type { ptr, ptr, ptr, i64, i64, i64 }
%Buffer = type { i64, i64 }

; What a running call holds besides its outputs.
%Frame = type { ptr, ptr, i64, ptr, i1 }  ; slots, arena, arena's class, scratch, whether the pool is acquired

; Inputs and constants into their slots; false with TypeError set.
define internal i1 @bind_slots(ptr %program, ptr %arguments, i64 %count, ptr %slots) {
entry:
  %inputs = load i64, ptr %program
  %enough = call i1 @check_count(ptr @text_program, i64 %inputs, i64 %count)
  br i1 %enough, label %input_loop, label %failed
input_loop:
  %i = phi i64 [ 0, %entry ], [ %next_i, %bind_input ]
  %more_inputs = icmp slt i64 %i, %inputs
  br i1 %more_inputs, label %check_input, label %constants_start
check_input:
  %input_at = getelementptr ptr, ptr %arguments, i64 %i
  %input = load ptr, ptr %input_at
  %good = call i1 @check_storage(ptr %input, ptr @text_program, i64 %i)
  br i1 %good, label %bind_input, label %failed
bind_input:
  %address_at = getelementptr %Storage, ptr %input, i64 0, i32 2
  %address = load ptr, ptr %address_at
  %slot_at = getelementptr ptr, ptr %slots, i64 %i
  store ptr %address, ptr %slot_at
  %next_i = add i64 %i, 1
  br label %input_loop
constants_start:
  %outputs_at = getelementptr %Program, ptr %program, i64 0, i32 1
  %outputs = load i64, ptr %outputs_at
  %constants_at = getelementptr %Program, ptr %program, i64 0, i32 2
  %constants = load i64, ptr %constants_at
  %addresses_at = getelementptr %Program, ptr %program, i64 0, i32 9
  %addresses = load ptr, ptr %addresses_at
  %first = add i64 %inputs, %outputs
  br label %constant_loop
constant_loop:
  %k = phi i64 [ 0, %constants_start ], [ %next_k, %bind_constant ]
  %more_constants = icmp slt i64 %k, %constants
  br i1 %more_constants, label %bind_constant, label %done
bind_constant:
  %constant_at = getelementptr ptr, ptr %addresses, i64 %k
  %constant = load ptr, ptr %constant_at
  %place = add i64 %first, %k
  %place_at = getelementptr ptr, ptr %slots, i64 %place
  store ptr %constant, ptr %place_at
  %next_k = add i64 %k, 1
  br label %constant_loop
done:
  ret i1 true
failed:
  ret i1 false
}

; Drop the first `count` outputs.
define internal void @drop_outputs(ptr %objects, i64 %count) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %drop ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %drop, label %done
drop:
  %object_at = getelementptr ptr, ptr %objects, i64 %i
  %object = load ptr, ptr %object_at
  call void @Py_DecRef(ptr %object)
  %next = add i64 %i, 1
  br label %loop
done:
  ret void
}

; Allocate the outputs, into `objects` and their slots; false with an exception set, and nothing allocated.
define internal i1 @make_outputs(ptr %program, ptr %slots, ptr %objects) {
entry:
  %inputs = load i64, ptr %program
  %outputs_at = getelementptr %Program, ptr %program, i64 0, i32 1
  %outputs = load i64, ptr %outputs_at
  %sizes_at = getelementptr %Program, ptr %program, i64 0, i32 8
  %sizes = load ptr, ptr %sizes_at
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %bind ]
  %more = icmp slt i64 %i, %outputs
  br i1 %more, label %make, label %done
make:
  %nbytes_at = getelementptr i64, ptr %sizes, i64 %i
  %nbytes = load i64, ptr %nbytes_at
  %storage = call ptr @storage_allocate(i64 %nbytes)
  %none = icmp eq ptr %storage, null
  br i1 %none, label %undo, label %bind
bind:
  %object_at = getelementptr ptr, ptr %objects, i64 %i
  store ptr %storage, ptr %object_at
  %address_at = getelementptr %Storage, ptr %storage, i64 0, i32 2
  %address = load ptr, ptr %address_at
  %place = add i64 %inputs, %i
  %slot_at = getelementptr ptr, ptr %slots, i64 %place
  store ptr %address, ptr %slot_at
  %next = add i64 %i, 1
  br label %loop
undo:
  call void @drop_outputs(ptr %objects, i64 %i)
  ret i1 false
done:
  ret i1 true
}

; Arena, scratch and pool for a call; false with OutOfMemoryError set, and nothing taken.
define internal i1 @open_frame(ptr %program, ptr %slots, ptr %frame) {
  store ptr %slots, ptr %frame
  %arena_at = getelementptr %Frame, ptr %frame, i64 0, i32 1
  %class_at = getelementptr %Frame, ptr %frame, i64 0, i32 2
  %scratch_at = getelementptr %Frame, ptr %frame, i64 0, i32 3
  %pool_at = getelementptr %Frame, ptr %frame, i64 0, i32 4
  %arena_nbytes_at = getelementptr %Program, ptr %program, i64 0, i32 3
  %arena_nbytes = load i64, ptr %arena_nbytes_at
  store ptr null, ptr %arena_at
  %has_arena = icmp ne i64 %arena_nbytes, 0
  br i1 %has_arena, label %allocate_arena, label %scratch
allocate_arena:
  %got = call { ptr, i64 } @allocate(i64 %arena_nbytes)
  %arena = extractvalue { ptr, i64 } %got, 0
  %class = extractvalue { ptr, i64 } %got, 1
  store ptr %arena, ptr %arena_at
  store i64 %class, ptr %class_at
  %no_arena = icmp eq ptr %arena, null
  br i1 %no_arena, label %refused, label %bind_arena
bind_arena:
  %last = call i64 @arena_slot(ptr %program)
  %slot_at = getelementptr ptr, ptr %slots, i64 %last
  store ptr %arena, ptr %slot_at
  br label %scratch
scratch:
  %region = call ptr @take_scratch()
  store ptr %region, ptr %scratch_at
  %no_scratch = icmp eq ptr %region, null
  br i1 %no_scratch, label %give_back, label %pool
pool:
  %parallel_at = getelementptr %Program, ptr %program, i64 0, i32 7
  %parallel = load i64, ptr %parallel_at
  %wants_pool = icmp ne i64 %parallel, 0
  br i1 %wants_pool, label %acquire, label %done
acquire:
  %acquired = call i1 @pool_acquire()
  br label %done
done:
  %has_pool = phi i1 [ false, %pool ], [ %acquired, %acquire ]
  store i1 %has_pool, ptr %pool_at
  ret i1 true
give_back:
  %taken = load ptr, ptr %arena_at
  %some = icmp ne ptr %taken, null
  br i1 %some, label %release_arena, label %refused
release_arena:
  %taken_class = load i64, ptr %class_at
  call void @release(ptr %taken, i64 %taken_class)
  br label %refused
refused:
  %requested = phi i64 [ %arena_nbytes, %allocate_arena ], [ $SCRATCH_BYTES, %give_back ],
                       [ $SCRATCH_BYTES, %release_arena ]
  call void @raise_out_of_memory(i64 %requested)
  ret i1 false
}

define internal i64 @arena_slot(ptr %program) {
  %inputs = load i64, ptr %program
  %outputs_at = getelementptr %Program, ptr %program, i64 0, i32 1
  %outputs = load i64, ptr %outputs_at
  %constants_at = getelementptr %Program, ptr %program, i64 0, i32 2
  %constants = load i64, ptr %constants_at
  %some = add i64 %inputs, %outputs
  %all = add i64 %some, %constants
  ret i64 %all
}

define internal void @close_frame(ptr %frame) {
  %arena_at = getelementptr %Frame, ptr %frame, i64 0, i32 1
  %arena = load ptr, ptr %arena_at
  %has_arena = icmp ne ptr %arena, null
  br i1 %has_arena, label %release_arena, label %scratch
release_arena:
  %class_at = getelementptr %Frame, ptr %frame, i64 0, i32 2
  %class = load i64, ptr %class_at
  call void @release(ptr %arena, i64 %class)
  br label %scratch
scratch:
  %scratch_at = getelementptr %Frame, ptr %frame, i64 0, i32 3
  %region = load ptr, ptr %scratch_at
  call void @give_scratch(ptr %region)
  %pool_at = getelementptr %Frame, ptr %frame, i64 0, i32 4
  %has_pool = load i1, ptr %pool_at
  br i1 %has_pool, label %give_pool, label %done
give_pool:
  call void @pool_give_back()
  br label %done
done:
  ret void
}

; One step: resolve its buffers into `bufs`, then run it on the pool or here.
define internal i64 @run_step(ptr %step, ptr %slots, ptr %bufs, ptr %scratch, i1 %has_pool) {
entry:
  %kernel = load ptr, ptr %step
  %ints_at = getelementptr %Step, ptr %step, i64 0, i32 1
  %ints = load ptr, ptr %ints_at
  %buffers_at = getelementptr %Step, ptr %step, i64 0, i32 2
  %buffers = load ptr, ptr %buffers_at
  %count_at = getelementptr %Step, ptr %step, i64 0, i32 3
  %count = load i64, ptr %count_at
  %units_at = getelementptr %Step, ptr %step, i64 0, i32 4
  %units = load i64, ptr %units_at
  %grain_at = getelementptr %Step, ptr %step, i64 0, i32 5
  %grain = load i64, ptr %grain_at
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %resolve ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %resolve, label %run
resolve:
  %buffer_at = getelementptr %Buffer, ptr %buffers, i64 %i
  %slot = load i64, ptr %buffer_at
  %offset_at = getelementptr %Buffer, ptr %buffer_at, i64 0, i32 1
  %offset = load i64, ptr %offset_at
  %base_at = getelementptr ptr, ptr %slots, i64 %slot
  %base = load ptr, ptr %base_at
  %address = getelementptr i8, ptr %base, i64 %offset
  %buf_at = getelementptr ptr, ptr %bufs, i64 %i
  store ptr %address, ptr %buf_at
  %next = add i64 %i, 1
  br label %loop
run:
  %many = icmp sgt i64 %units, %grain
  %share = and i1 %many, %has_pool
  br i1 %share, label %shared, label %alone
shared:
  %shared_bits = call i64 @pool_run(ptr %kernel, ptr %bufs, ptr %ints, i64 %units, i64 %grain, ptr %scratch)
  ret i64 %shared_bits
alone:
  %some = icmp sgt i64 %units, 0
  br i1 %some, label %direct, label %nothing
direct:
  %bits = call i64 %kernel(ptr %bufs, ptr %ints, i64 0, i64 %units, ptr %scratch)
  ret i64 %bits
nothing:
  ret i64 0
}

; All steps, or up to the first that has status bits, which are the result.
; Where `times` is not null it gets steps + 1 clock readings.
define internal i64 @run_steps(ptr %program, ptr %frame, ptr %times) {
entry:
  %slots = load ptr, ptr %frame
  %scratch_at = getelementptr %Frame, ptr %frame, i64 0, i32 3
  %scratch = load ptr, ptr %scratch_at
  %pool_at = getelementptr %Frame, ptr %frame, i64 0, i32 4
  %has_pool = load i1, ptr %pool_at
  %steps_at = getelementptr %Program, ptr %program, i64 0, i32 4
  %steps = load i64, ptr %steps_at
  %max_buffers_at = getelementptr %Program, ptr %program, i64 0, i32 5
  %max_buffers = load i64, ptr %max_buffers_at
  %table_at = getelementptr %Program, ptr %program, i64 0, i32 10
  %table = load ptr, ptr %table_at
  %bufs = alloca ptr, i64 %max_buffers
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %step ]
  call void @read_clock(ptr %times, i64 %i)
  %more = icmp slt i64 %i, %steps
  br i1 %more, label %step, label %done
step:
  %step_at = getelementptr %Step, ptr %table, i64 %i
  %result = call i64 @run_step(ptr %step_at, ptr %slots, ptr %bufs, ptr %scratch, i1 %has_pool)
  %next = add i64 %i, 1
  %fine = icmp eq i64 %result, 0
  br i1 %fine, label %loop, label %done
done:
  %bits = phi i64 [ 0, %loop ], [ %result, %step ]
  ret i64 %bits
}

define internal void @read_clock(ptr %times, i64 %i) alwaysinline {
  %untimed = icmp eq ptr %times, null
  br i1 %untimed, label %done, label %read
read:
  %time = call i64 @now()
  %at = getelementptr i64, ptr %times, i64 %i
  store i64 %time, ptr %at
  br label %done
done:
  ret void
}

; The outputs as what a call returns; takes over the references.
define internal ptr @pack_outputs(ptr %objects, i64 %count) {
entry:
  switch i64 %count, label %many [ i64 0, label %none
                                   i64 1, label %one ]
none:
  %nothing = call ptr @new_none()
  ret ptr %nothing
one:
  %single = load ptr, ptr %objects
  ret ptr %single
many:
  %tuple = call ptr @PyTuple_New(i64 %count)
  %failed = icmp eq ptr %tuple, null
  br i1 %failed, label %drop, label %loop
loop:
  %i = phi i64 [ 0, %many ], [ %next, %loop ]
  %object_at = getelementptr ptr, ptr %objects, i64 %i
  %object = load ptr, ptr %object_at
  %ignored = call i32 @PyTuple_SetItem(ptr %tuple, i64 %i, ptr %object)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %loop, label %done
drop:
  call void @drop_outputs(ptr %objects, i64 %count)
  br label %done
done:
  ret ptr %tuple
}

; Raise KernelStatus(bits) through program.py.
define internal void @raise_status(i64 %bits) noinline {
  %number = call ptr @PyLong_FromLongLong(i64 %bits)
  %failed = icmp eq ptr %number, null
  br i1 %failed, label %done, label %raise
raise:
  %hook = load ptr, ptr @py_raise_status
  %result = call ptr @PyObject_CallOneArg(ptr %hook, ptr %number)
  call void @Py_DecRef(ptr %number)
  br label %done
done:
  ret void
}

; A whole call.
define internal ptr @program_run(ptr %self, ptr %arguments, i64 %count, ptr %times) {
  %program_at = getelementptr %Storage, ptr %self, i64 0, i32 2
  %program = load ptr, ptr %program_at
  %outputs_at = getelementptr %Program, ptr %program, i64 0, i32 1
  %outputs = load i64, ptr %outputs_at
  %arena_slot = call i64 @arena_slot(ptr %program)
  %slot_count = add i64 %arena_slot, 1
  %slots = alloca ptr, i64 %slot_count
  %objects = alloca ptr, i64 %outputs
  %frame = alloca %Frame
  %bound = call i1 @bind_slots(ptr %program, ptr %arguments, i64 %count, ptr %slots)
  br i1 %bound, label %make, label %failed
make:
  %made = call i1 @make_outputs(ptr %program, ptr %slots, ptr %objects)
  br i1 %made, label %open, label %failed
open:
  %opened = call i1 @open_frame(ptr %program, ptr %slots, ptr %frame)
  br i1 %opened, label %run, label %drop
run:
  %release_at = getelementptr %Program, ptr %program, i64 0, i32 6
  %release = load i64, ptr %release_at
  %holds_gil = icmp eq i64 %release, 0
  br i1 %holds_gil, label %with_gil, label %without_gil
with_gil:
  %bits_with = call i64 @run_steps(ptr %program, ptr %frame, ptr %times)
  br label %close
without_gil:
  %thread = call ptr @PyEval_SaveThread()
  %bits_without = call i64 @run_steps(ptr %program, ptr %frame, ptr %times)
  call void @PyEval_RestoreThread(ptr %thread)
  br label %close
close:
  %bits = phi i64 [ %bits_with, %with_gil ], [ %bits_without, %without_gil ]
  call void @close_frame(ptr %frame)
  %fine = icmp eq i64 %bits, 0
  br i1 %fine, label %pack, label %bad_status
pack:
  %result = call ptr @pack_outputs(ptr %objects, i64 %outputs)
  ret ptr %result
bad_status:
  call void @drop_outputs(ptr %objects, i64 %outputs)
  call void @raise_status(i64 %bits)
  ret ptr null
drop:
  call void @drop_outputs(ptr %objects, i64 %outputs)
  br label %failed
failed:
  ret ptr null
}

define internal ptr @program_call(ptr %self, ptr %arguments, i64 %count) {
  %result = call ptr @program_run(ptr %self, ptr %arguments, i64 %count, ptr null)
  ret ptr %result
}

define internal ptr @program_profile(ptr %self, ptr %arguments, i64 %count) {
  %program_at = getelementptr %Storage, ptr %self, i64 0, i32 2
  %program = load ptr, ptr %program_at
  %steps_at = getelementptr %Program, ptr %program, i64 0, i32 4
  %steps = load i64, ptr %steps_at
  %readings = add i64 %steps, 1
  %times = call ptr @calloc(i64 %readings, i64 8)
  %no_memory = icmp eq ptr %times, null
  br i1 %no_memory, label %refused, label %run
run:
  %result = call ptr @program_run(ptr %self, ptr %arguments, i64 %count, ptr %times)
  %failed = icmp eq ptr %result, null
  br i1 %failed, label %release, label %report
report:
  call void @Py_DecRef(ptr %result)
  %list = call ptr @list_differences(ptr %times, i64 %steps)
  br label %release
release:
  %answer = phi ptr [ null, %run ], [ %list, %report ]
  call void @free(ptr %times)
  ret ptr %answer
refused:
  %null = call ptr @PyErr_NoMemory()
  ret ptr null
}

; [times[1] - times[0], ...] in seconds, as a list of floats.
define internal ptr @list_differences(ptr %times, i64 %count) {
entry:
  %list = call ptr @PyList_New(i64 %count)
  %failed = icmp eq ptr %list, null
  br i1 %failed, label %done, label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %store ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %make, label %done
make:
  %from_at = getelementptr i64, ptr %times, i64 %i
  %from = load i64, ptr %from_at
  %next = add i64 %i, 1
  %to_at = getelementptr i64, ptr %times, i64 %next
  %to = load i64, ptr %to_at
  %nanoseconds = sub i64 %to, %from
  %real = sitofp i64 %nanoseconds to double
  %seconds = fdiv double %real, 1.0e9
  %number = call ptr @PyFloat_FromDouble(double %seconds)
  %none = icmp eq ptr %number, null
  br i1 %none, label %drop, label %store
store:
  %ignored = call i32 @PyList_SetItem(ptr %list, i64 %i, ptr %number)
  br label %loop
drop:
  call void @Py_DecRef(ptr %list)
  ret ptr null
done:
  ret ptr %list
}

; program_bind(table) -> (call, profile)
define internal ptr @program_bind(ptr %self, ptr %table) {
  %good = call i1 @check_storage(ptr %table, ptr @name_program_bind, i64 0)
  br i1 %good, label %make, label %failed
make:
  %pair = call ptr @PyTuple_New(i64 2)
  %no_pair = icmp eq ptr %pair, null
  br i1 %no_pair, label %failed, label %make_call
make_call:
  %call = call ptr @PyCFunction_NewEx(ptr @method_program_call, ptr %table, ptr null)
  %no_call = icmp eq ptr %call, null
  br i1 %no_call, label %drop, label %make_profile
make_profile:
  %1 = call i32 @PyTuple_SetItem(ptr %pair, i64 0, ptr %call)
  %profile = call ptr @PyCFunction_NewEx(ptr @method_program_profile, ptr %table, ptr null)
  %no_profile = icmp eq ptr %profile, null
  br i1 %no_profile, label %drop, label %done
done:
  %2 = call i32 @PyTuple_SetItem(ptr %pair, i64 1, ptr %profile)
  ret ptr %pair
drop:
  call void @Py_DecRef(ptr %pair)
  br label %failed
failed:
  ret ptr null
}

; parallel_for(kernel, bufs, ints, units, grain) -> status; always without the GIL
define internal ptr @parallel_for(ptr %self, ptr %arguments, i64 %count) {
entry:
  %values = alloca [5 x i64]
  %enough = call i1 @check_count(ptr @name_parallel_for, i64 5, i64 %count)
  br i1 %enough, label %loop, label %failed
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %store ]
  %more = icmp slt i64 %i, 5
  br i1 %more, label %parse, label %scratch
parse:
  %object_at = getelementptr ptr, ptr %arguments, i64 %i
  %object = load ptr, ptr %object_at
  %argument = call { i64, i1 } @int_argument(ptr %object)
  %good = extractvalue { i64, i1 } %argument, 1
  br i1 %good, label %store, label %failed
store:
  %value = extractvalue { i64, i1 } %argument, 0
  %value_at = getelementptr i64, ptr %values, i64 %i
  store i64 %value, ptr %value_at
  %next = add i64 %i, 1
  br label %loop
scratch:
  %region = call ptr @take_scratch()
  %none = icmp eq ptr %region, null
  br i1 %none, label %no_memory, label %run
run:
  %kernel = load ptr, ptr %values
  %bufs_at = getelementptr i64, ptr %values, i64 1
  %bufs = load ptr, ptr %bufs_at
  %ints_at = getelementptr i64, ptr %values, i64 2
  %ints = load ptr, ptr %ints_at
  %units_at = getelementptr i64, ptr %values, i64 3
  %units = load i64, ptr %units_at
  %grain_at = getelementptr i64, ptr %values, i64 4
  %grain_given = load i64, ptr %grain_at
  %grain = call i64 @llvm.smax.i64(i64 %grain_given, i64 1)
  %has_pool = call i1 @pool_acquire()
  %thread = call ptr @PyEval_SaveThread()
  %many = icmp sgt i64 %units, %grain
  %share = and i1 %many, %has_pool
  br i1 %share, label %shared, label %alone
shared:
  %shared_bits = call i64 @pool_run(ptr %kernel, ptr %bufs, ptr %ints, i64 %units, i64 %grain, ptr %region)
  br label %close
alone:
  %some = icmp sgt i64 %units, 0
  br i1 %some, label %direct, label %close
direct:
  %direct_bits = call i64 %kernel(ptr %bufs, ptr %ints, i64 0, i64 %units, ptr %region)
  br label %close
close:
  %bits = phi i64 [ %shared_bits, %shared ], [ 0, %alone ], [ %direct_bits, %direct ]
  call void @PyEval_RestoreThread(ptr %thread)
  call void @give_scratch(ptr %region)
  br i1 %has_pool, label %give_pool, label %answer
give_pool:
  call void @pool_give_back()
  br label %answer
answer:
  %number = call ptr @PyLong_FromLongLong(i64 %bits)
  ret ptr %number
no_memory:
  call void @raise_out_of_memory(i64 $SCRATCH_BYTES)
  br label %failed
failed:
  ret ptr null
}
"""
)
