"""IR: the thread pool.

One job at a time: ``kernel(bufs, ints, begin, end, scratch)`` over ``units``, cut into ranges of ``chunk`` units that
the caller and the workers take from the atomic counter ``next``. Results do not depend on who takes what.

``word`` is the state: generation (bits 32..63), OPEN (bit 31), STOP (bit 30), number of workers inside (bits 0..15).

- The caller fills in the job, then stores generation + 1 with OPEN. It computes ranges itself, clears OPEN when none
  is left, and waits until nobody is inside. So it never waits for a worker that has not been scheduled yet.
- A worker joins by a compare-and-swap of ``word`` to ``word + 1`` while OPEN is set, at most once a generation, and
  leaves by subtracting one.
- Both sides spin ``SPIN_NANOSECONDS`` before they sleep on a condition variable; with one core they do not spin. Who
  goes to sleep first says so (``sleepers``, ``caller_waits``), then looks at ``word`` again under the mutex; who
  changes ``word`` looks at these afterwards. All four accesses are sequentially consistent, so one of the two sees the
  other.

``busy``, ``workers`` and ``wanted`` are guarded by the GIL: a caller acquires the pool before it releases the GIL and
gives it back after it has it again. Who finds the pool busy computes alone. Workers never touch a Python object.
Each worker owns a scratch region that outlives it; callers take theirs from ``scratch_free``, also under the GIL.
"""

from __future__ import annotations

from .cpython import strings

__all__ = ["BUILTINS", "TEXT"]

BUILTINS = {
    "pool_set_threads": ("one", "Threads that a call may use, the caller included; surplus workers end when idle."),
    "pool_set_spin": ("one", "Nanoseconds that an idle thread spins before it sleeps."),
    "pool_threads": ("none", "The number last set."),
    "pool_workers": ("none", "Workers running now."),
    "pool_stop": ("none", "End all workers, if the pool is idle; they start again when needed."),
    "pool_after_fork": ("none", "In a forked child: forget the workers, which only the parent has."),
}

TEXT = (
    strings(text_threads="the number of threads must lie in 1..%lld, got %lld")
    + r"""
@word = internal global i64 0, align 128
@next = internal global i64 0, align 128
@status = internal global i64 0, align 128
@sleepers = internal global i64 0
@caller_waits = internal global i64 0
; the job
@job_kernel = internal global ptr null, align 128
@job_bufs = internal global ptr null
@job_ints = internal global ptr null
@job_units = internal global i64 0
@job_chunk = internal global i64 0
; guarded by the GIL
@busy = internal global i1 false
@wanted = internal global i64 1
@workers = internal global i64 0
@spin = internal global i64 0                                    ; nanoseconds
@scratch_free = internal global ptr null
@threads = internal global [$MAX_THREADS x i64] zeroinitializer
@worker_scratch = internal global [$MAX_THREADS x ptr] zeroinitializer
; pthread objects, larger than on any platform
@mutex = internal global [16 x i64] zeroinitializer, align 64
@work_ready = internal global [16 x i64] zeroinitializer, align 64
@work_done = internal global [16 x i64] zeroinitializer, align 64

$DECLARE_PAUSE

define internal void @pool_initialise() {
  %1 = call i32 @pthread_mutex_init(ptr @mutex, ptr null)
  %2 = call i32 @pthread_cond_init(ptr @work_ready, ptr null)
  %3 = call i32 @pthread_cond_init(ptr @work_done, ptr null)
  ret void
}

; ---- scratch ----

; A scratch region for a caller, or null; pages are only touched when a kernel uses them.
define internal ptr @take_scratch() {
  %head = load ptr, ptr @scratch_free
  %none = icmp eq ptr %head, null
  br i1 %none, label %fresh, label %reuse
reuse:
  %rest = load ptr, ptr %head
  store ptr %rest, ptr @scratch_free
  ret ptr %head
fresh:
  %mapped = call ptr @map_pages(i64 $SCRATCH_BYTES)
  ret ptr %mapped
}

define internal void @give_scratch(ptr %scratch) {
  %head = load ptr, ptr @scratch_free
  store ptr %head, ptr %scratch
  store ptr %scratch, ptr @scratch_free
  ret void
}

; ---- both sides ----

; Take ranges of the job until none is left.
define internal void @compute(ptr %scratch) {
entry:
  %kernel = load ptr, ptr @job_kernel
  %bufs = load ptr, ptr @job_bufs
  %ints = load ptr, ptr @job_ints
  %units = load i64, ptr @job_units
  %chunk = load i64, ptr @job_chunk
  br label %loop
loop:
  %bits = phi i64 [ 0, %entry ], [ %bits_after, %range ]
  %begin = atomicrmw add ptr @next, i64 %chunk monotonic
  %left = icmp slt i64 %begin, %units
  br i1 %left, label %range, label %done
range:
  %stop = add i64 %begin, %chunk
  %end = call i64 @llvm.umin.i64(i64 %stop, i64 %units)
  %result = call i64 %kernel(ptr %bufs, ptr %ints, i64 %begin, i64 %end, ptr %scratch)
  %bits_after = or i64 %bits, %result
  br label %loop
done:
  %ignored = atomicrmw or ptr @status, i64 %bits monotonic
  ret void
}

; True when `word` shows a job that a worker whose last one was `generation` may join, or the order to stop.
define internal i1 @has_news(i64 %word, i64 %generation) alwaysinline {
  %flags = and i64 %word, $OPEN
  %open = icmp ne i64 %flags, 0
  %now = lshr i64 %word, 32
  %new = icmp ne i64 %now, %generation
  %job = and i1 %open, %new
  %stop_flag = and i64 %word, $STOP
  %stop = icmp ne i64 %stop_flag, 0
  %news = or i1 %job, %stop
  ret i1 %news
}

; ---- workers ----

; Wait for news; returns the word that had it.
define internal i64 @await_news(i64 %generation) {
entry:
  %patience = load i64, ptr @spin
  %started = call i64 @now()
  br label %spin_loop
spin_loop:
  %pauses = phi i64 [ 0, %entry ], [ 0, %look_at_clock ], [ %pauses_after, %pause ]
  %word = load atomic i64, ptr @word acquire, align 8
  %news = call i1 @has_news(i64 %word, i64 %generation)
  br i1 %news, label %found, label %wait
wait:
  %time_for_clock = icmp uge i64 %pauses, 16
  br i1 %time_for_clock, label %look_at_clock, label %pause
pause:
  $PAUSE
  %pauses_after = add i64 %pauses, 1
  %no_spin = icmp eq i64 %patience, 0
  br i1 %no_spin, label %sleep, label %spin_loop
look_at_clock:
  %time = call i64 @now()
  %spent = sub i64 %time, %started
  %enough = icmp ugt i64 %spent, %patience
  br i1 %enough, label %sleep, label %spin_loop
sleep:
  %slept_word = call i64 @sleep_until_news(i64 %generation)
  ret i64 %slept_word
found:
  ret i64 %word
}

define internal i64 @sleep_until_news(i64 %generation) {
  %1 = call i32 @pthread_mutex_lock(ptr @mutex)
  %2 = atomicrmw add ptr @sleepers, i64 1 seq_cst
  br label %look
look:
  %word = load atomic i64, ptr @word seq_cst, align 8
  %news = call i1 @has_news(i64 %word, i64 %generation)
  br i1 %news, label %found, label %wait
wait:
  %3 = call i32 @pthread_cond_wait(ptr @work_ready, ptr @mutex)
  br label %look
found:
  %4 = atomicrmw sub ptr @sleepers, i64 1 seq_cst
  %5 = call i32 @pthread_mutex_unlock(ptr @mutex)
  ret i64 %word
}

; Leave the job; the last one out wakes a caller that sleeps.
define internal void @leave() {
  %before = atomicrmw sub ptr @word, i64 1 seq_cst
  %inside = and i64 %before, $INSIDE
  %last = icmp eq i64 %inside, 1
  br i1 %last, label %look, label %done
look:
  %waits = load atomic i64, ptr @caller_waits seq_cst, align 8
  %asleep = icmp ne i64 %waits, 0
  br i1 %asleep, label %wake, label %done
wake:
  %1 = call i32 @pthread_mutex_lock(ptr @mutex)
  %2 = call i32 @pthread_cond_broadcast(ptr @work_done)
  %3 = call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %done
done:
  ret void
}

define internal ptr @worker_main(ptr %scratch) {
entry:
  br label %loop
loop:
  %generation = phi i64 [ -1, %entry ], [ %now, %work ], [ %generation, %join ]
  %word = call i64 @await_news(i64 %generation)
  %stop_flag = and i64 %word, $STOP
  %stop = icmp ne i64 %stop_flag, 0
  br i1 %stop, label %end, label %join
join:
  %joined = add i64 %word, 1
  %swap = cmpxchg ptr @word, i64 %word, i64 %joined seq_cst seq_cst
  %inside = extractvalue { i64, i1 } %swap, 1
  br i1 %inside, label %work, label %loop
work:
  %now = lshr i64 %word, 32
  call void @compute(ptr %scratch)
  call void @leave()
  br label %loop
end:
  ret ptr null
}

; Start worker number `i`, with all signals blocked (they belong to Python's threads). False when the system refuses.
define internal i1 @start_worker(i64 %i) {
  %attributes = alloca [16 x i64], align 16
  %all = alloca [16 x i64], align 16
  %mask = alloca [16 x i64], align 16
  %scratch_at = getelementptr ptr, ptr @worker_scratch, i64 %i
  %old = load ptr, ptr %scratch_at
  %none = icmp eq ptr %old, null
  br i1 %none, label %map, label %start
map:
  %mapped = call ptr @map_pages(i64 $SCRATCH_BYTES)
  store ptr %mapped, ptr %scratch_at
  %refused = icmp eq ptr %mapped, null
  br i1 %refused, label %fail, label %start
start:
  %scratch = phi ptr [ %old, %0 ], [ %mapped, %map ]
  %thread_at = getelementptr i64, ptr @threads, i64 %i
  %1 = call i32 @pthread_attr_init(ptr %attributes)
  %2 = call i32 @pthread_attr_setstacksize(ptr %attributes, i64 $STACK_BYTES)
  %3 = call i32 @sigfillset(ptr %all)
  %4 = call i32 @pthread_sigmask(i32 $SIG_SETMASK, ptr %all, ptr %mask)
  %error = call i32 @pthread_create(ptr %thread_at, ptr %attributes, ptr @worker_main, ptr %scratch)
  %5 = call i32 @pthread_sigmask(i32 $SIG_SETMASK, ptr %mask, ptr null)
  %6 = call i32 @pthread_attr_destroy(ptr %attributes)
  %good = icmp eq i32 %error, 0
  ret i1 %good
fail:
  ret i1 false
}

; Start workers until there are wanted - 1, or the system refuses one.
define internal void @start_workers() {
  br label %loop
loop:
  %have = load i64, ptr @workers
  %wanted = load i64, ptr @wanted
  %need = sub i64 %wanted, 1
  %missing = icmp slt i64 %have, %need
  br i1 %missing, label %start, label %done
start:
  %good = call i1 @start_worker(i64 %have)
  br i1 %good, label %count, label %done
count:
  %have_after = add i64 %have, 1
  store i64 %have_after, ptr @workers
  br label %loop
done:
  ret void
}

; End all workers and wait for them. The pool must be acquired or idle.
define internal void @stop_workers() {
  %out = alloca ptr
  %1 = atomicrmw or ptr @word, i64 $STOP seq_cst
  %2 = call i32 @pthread_mutex_lock(ptr @mutex)
  %3 = call i32 @pthread_cond_broadcast(ptr @work_ready)
  %4 = call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %loop
loop:
  %left = load i64, ptr @workers
  %some = icmp sgt i64 %left, 0
  br i1 %some, label %join, label %done
join:
  %i = sub i64 %left, 1
  store i64 %i, ptr @workers
  %thread_at = getelementptr i64, ptr @threads, i64 %i
  %thread = load i64, ptr %thread_at
  %5 = call i32 @pthread_join(i64 %thread, ptr %out)
  br label %loop
done:
  %6 = atomicrmw and ptr @word, i64 $NOT_STOP seq_cst
  ret void
}

; ---- the caller ----

; True when the pool is now this thread's: it is not busy and more than one thread is wanted. GIL held.
define internal i1 @pool_acquire() {
  %busy = load i1, ptr @busy
  %wanted = load i64, ptr @wanted
  %single = icmp sle i64 %wanted, 1
  %no = or i1 %busy, %single
  br i1 %no, label %refused, label %take
take:
  %have = load i64, ptr @workers
  %surplus = icmp sge i64 %have, %wanted
  br i1 %surplus, label %shrink, label %fit
shrink:
  call void @stop_workers()
  br label %fit
fit:
  call void @start_workers()
  %workers = load i64, ptr @workers
  %some = icmp sgt i64 %workers, 0
  store i1 %some, ptr @busy
  ret i1 %some
refused:
  ret i1 false
}

define internal void @pool_give_back() {
  store i1 false, ptr @busy
  ret void
}

; Wake up to `count` sleeping workers.
define internal void @wake_workers(i64 %count) {
entry:
  %asleep = load atomic i64, ptr @sleepers seq_cst, align 8
  %none = icmp eq i64 %asleep, 0
  br i1 %none, label %done, label %wake
wake:
  %1 = call i32 @pthread_mutex_lock(ptr @mutex)
  %few = icmp slt i64 %count, %asleep
  br i1 %few, label %signal, label %all
signal:
  %left = phi i64 [ %count, %wake ], [ %left_after, %signal ]
  %2 = call i32 @pthread_cond_signal(ptr @work_ready)
  %left_after = sub i64 %left, 1
  %more = icmp sgt i64 %left_after, 0
  br i1 %more, label %signal, label %unlock
all:
  %3 = call i32 @pthread_cond_broadcast(ptr @work_ready)
  br label %unlock
unlock:
  %4 = call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %done
done:
  ret void
}

; Wait until no worker is inside: spin, then sleep.
define internal void @await_workers() {
entry:
  %patience = load i64, ptr @spin
  %started = call i64 @now()
  br label %spin_loop
spin_loop:
  %pauses = phi i64 [ 0, %entry ], [ 0, %look_at_clock ], [ %pauses_after, %pause ]
  %word = load atomic i64, ptr @word seq_cst, align 8
  %inside = and i64 %word, $INSIDE
  %empty = icmp eq i64 %inside, 0
  br i1 %empty, label %done, label %wait
wait:
  %time_for_clock = icmp uge i64 %pauses, 16
  br i1 %time_for_clock, label %look_at_clock, label %pause
pause:
  $PAUSE
  %pauses_after = add i64 %pauses, 1
  %no_spin = icmp eq i64 %patience, 0
  br i1 %no_spin, label %sleep, label %spin_loop
look_at_clock:
  %time = call i64 @now()
  %spent = sub i64 %time, %started
  %enough = icmp ugt i64 %spent, %patience
  br i1 %enough, label %sleep, label %spin_loop
sleep:
  call void @sleep_until_empty()
  ret void
done:
  ret void
}

define internal void @sleep_until_empty() {
  %1 = call i32 @pthread_mutex_lock(ptr @mutex)
  store atomic i64 1, ptr @caller_waits seq_cst, align 8
  br label %look
look:
  %word = load atomic i64, ptr @word seq_cst, align 8
  %inside = and i64 %word, $INSIDE
  %empty = icmp eq i64 %inside, 0
  br i1 %empty, label %done, label %wait
wait:
  %2 = call i32 @pthread_cond_wait(ptr @work_done, ptr @mutex)
  br label %look
done:
  store atomic i64 0, ptr @caller_waits seq_cst, align 8
  %3 = call i32 @pthread_mutex_unlock(ptr @mutex)
  ret void
}

; Units of one range: about four ranges a thread, a multiple of the grain.
define internal i64 @chunk_of(i64 %units, i64 %grain) {
  %workers = load i64, ptr @workers
  %threads = add i64 %workers, 1
  %ranges = shl i64 %threads, 2
  %up = add i64 %units, %ranges
  %up_less = sub i64 %up, 1
  %share = udiv i64 %up_less, %ranges
  %share_up = add i64 %share, %grain
  %share_up_less = sub i64 %share_up, 1
  %grains = udiv i64 %share_up_less, %grain
  %chunk = mul i64 %grains, %grain
  ret i64 %chunk
}

; Run the kernel over 0 <= unit < units on all threads; returns its status bits. The pool is acquired; units and
; grain are at least 1.
define internal i64 @pool_run(ptr %kernel, ptr %bufs, ptr %ints, i64 %units, i64 %grain, ptr %scratch) {
  %chunk = call i64 @chunk_of(i64 %units, i64 %grain)
  store ptr %kernel, ptr @job_kernel
  store ptr %bufs, ptr @job_bufs
  store ptr %ints, ptr @job_ints
  store i64 %units, ptr @job_units
  store i64 %chunk, ptr @job_chunk
  store i64 0, ptr @next
  store i64 0, ptr @status
  %old = load i64, ptr @word
  %generation = lshr i64 %old, 32
  %generation_next = add i64 %generation, 1
  %high = shl i64 %generation_next, 32
  %open = or i64 %high, $OPEN
  store atomic i64 %open, ptr @word seq_cst, align 8
  %last = sub i64 %units, 1
  %helpers = udiv i64 %last, %chunk
  call void @wake_workers(i64 %helpers)
  call void @compute(ptr %scratch)
  %before = atomicrmw and ptr @word, i64 $NOT_OPEN seq_cst
  %inside = and i64 %before, $INSIDE
  %empty = icmp eq i64 %inside, 0
  br i1 %empty, label %done, label %wait
wait:
  call void @await_workers()
  br label %done
done:
  %bits = load i64, ptr @status
  ret i64 %bits
}

; ---- builtins ----

; pool_set_threads(count): workers follow when the pool is next acquired
define internal ptr @pool_set_threads(ptr %self, ptr %object) {
  %argument = call { i64, i1 } @int_argument(ptr %object)
  %good = extractvalue { i64, i1 } %argument, 1
  br i1 %good, label %check, label %bad
check:
  %count = extractvalue { i64, i1 } %argument, 0
  %less = sub i64 %count, 1
  %fits = icmp ult i64 %less, $MAX_THREADS
  br i1 %fits, label %set, label %outside
set:
  store i64 %count, ptr @wanted
  %none = call ptr @new_none()
  ret ptr %none
outside:
  %type = load ptr, ptr @py_value_error
  %null = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %type, ptr @text_threads, i64 $MAX_THREADS, i64 %count)
  ret ptr null
bad:
  ret ptr null
}

; pool_set_spin(nanoseconds)
define internal ptr @pool_set_spin(ptr %self, ptr %object) {
  %argument = call { i64, i1 } @int_argument(ptr %object)
  %good = extractvalue { i64, i1 } %argument, 1
  br i1 %good, label %set, label %bad
set:
  %spin = extractvalue { i64, i1 } %argument, 0
  store i64 %spin, ptr @spin
  %none = call ptr @new_none()
  ret ptr %none
bad:
  ret ptr null
}

define internal ptr @pool_threads(ptr %self, ptr %ignored) {
  %count = load i64, ptr @wanted
  %number = call ptr @PyLong_FromLongLong(i64 %count)
  ret ptr %number
}

define internal ptr @pool_workers(ptr %self, ptr %ignored) {
  %count = load i64, ptr @workers
  %number = call ptr @PyLong_FromLongLong(i64 %count)
  ret ptr %number
}

define internal ptr @pool_stop(ptr %self, ptr %ignored) {
  %busy = load i1, ptr @busy
  br i1 %busy, label %done, label %stop
stop:
  call void @stop_workers()
  br label %done
done:
  %none = call ptr @new_none()
  ret ptr %none
}

define internal ptr @pool_after_fork(ptr %self, ptr %ignored) {
  store i64 0, ptr @workers
  store i64 0, ptr @sleepers
  store i64 0, ptr @caller_waits
  store i64 0, ptr @word
  store i1 false, ptr @busy
  call void @pool_initialise()
  %none = call ptr @new_none()
  ret ptr %none
}
"""
)
