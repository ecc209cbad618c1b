; The code that runs a table of tasks and shares them among threads; driver.py fills in the names in braces.
declare i64 @syscall(i64, ...)
declare i32 @usleep(i32)
declare i32 @sched_yield()
declare i32 @clock_gettime(i32, ptr)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define internal i64 @lazyflow.now() {
  %time = alloca [2 x i64]
  %status = call i32 @clock_gettime(i32 ${clock}, ptr %time)
  %seconds = load i64, ptr %time
  %place = getelementptr i64, ptr %time, i64 1
  %rest = load i64, ptr %place
  %whole = mul i64 %seconds, 1000000000
  %now = add i64 %whole, %rest
  ret i64 %now
}

; compute in another mode from here on: how this thread rounds, and what it makes of the smallest numbers; the one
; before. All threads of a job have the usual one, else bits would depend on which of them ran a chunk.
define internal i64 @lazyflow.mode(i64 %mode) {
${mode}
}

; chunks of the task of a generation, until there are none; the number of this thread's own
define internal void @lazyflow.claim(ptr %pool, i32 %generation) {
entry:
  %task.place = getelementptr i64, ptr %pool, i64 ${TASK}
  %chunks.place = getelementptr i64, ptr %pool, i64 ${CHUNKS}
  %next = getelementptr i64, ptr %pool, i64 ${NEXT}
  %finished = getelementptr i64, ptr %pool, i64 ${FINISHED}
  %failed = getelementptr i64, ptr %pool, i64 ${FAILED}
  %wide = zext i32 %generation to i64
  br label %look
look:
  %task = load atomic i64, ptr %task.place monotonic, align 8
  %chunks = load atomic i64, ptr %chunks.place monotonic, align 8
  %ticket = load atomic i64, ptr %next seq_cst, align 8
  %ticket.generation = lshr i64 %ticket, 32
  %current = icmp eq i64 %ticket.generation, %wide
  %chunk = and i64 %ticket, 4294967295
  %left = icmp ult i64 %chunk, %chunks
  %open = and i1 %current, %left
  br i1 %open, label %try, label %done
try:
  %following = add i64 %ticket, 1
  %pair = cmpxchg ptr %next, i64 %ticket, i64 %following seq_cst monotonic, align 8
  %mine = extractvalue { i64, i1 } %pair, 1
  br i1 %mine, label %run, label %look
run:
  ; a claimed chunk keeps its task in place until it is finished
  %pointer = inttoptr i64 %task to ptr
  %status = call i64 @lazyflow.chunk(ptr %pointer, i64 %chunk)
  %bad = icmp ne i64 %status, 0
  br i1 %bad, label %fail, label %count
fail:
  store atomic i64 1, ptr %failed monotonic, align 8
  br label %count
count:
  %before = atomicrmw add ptr %finished, i64 1 seq_cst, align 8
  br label %look
done:
  ret void
}

define internal i64 @lazyflow.chunk(ptr %task, i64 %chunk) {
  %function.place = getelementptr i64, ptr %task, i64 ${FUNCTION}
  %args.place = getelementptr i64, ptr %task, i64 ${ARGS}
  %sizes.place = getelementptr i64, ptr %task, i64 ${SIZES}
  %extent.place = getelementptr i64, ptr %task, i64 ${EXTENT}
  %step.place = getelementptr i64, ptr %task, i64 ${CHUNK}
  %function = load ptr, ptr %function.place
  %args = load ptr, ptr %args.place
  %sizes = load ptr, ptr %sizes.place
  %extent = load i64, ptr %extent.place
  %step = load i64, ptr %step.place
  %begin = mul i64 %chunk, %step
  %reach = add i64 %begin, %step
  %last = icmp slt i64 %extent, %reach
  %end = select i1 %last, i64 %extent, i64 %reach
  %status = call i64 %function(ptr %args, ptr %sizes, i64 %begin, i64 %end)
  ret i64 %status
}

; what a worker thread runs for ever
define void @lazyflow.work(ptr %pool, i64 %number) {
entry:
  %active.place = getelementptr i64, ptr %pool, i64 ${ACTIVE}
  %spins.place = getelementptr i64, ptr %pool, i64 ${SPINS}
  %sleepers = getelementptr i64, ptr %pool, i64 ${SLEEPERS}
  %inherited = call i64 @lazyflow.mode(i64 ${USUAL_MODE})
  br label %begin
begin:
  %seen = phi i32 [0, %entry], [%generation, %next.generation]
  br label %watch
watch:
  %tries = phi i64 [0, %begin], [%more.tries, %pause], [0, %awake]
  %generation = load atomic i32, ptr %pool seq_cst, align 8
  %changed = icmp ne i32 %generation, %seen
  br i1 %changed, label %wake, label %wait
wait:
  %more.tries = add i64 %tries, 1
  %spins = load atomic i64, ptr %spins.place monotonic, align 8
  %patient = icmp ult i64 %tries, %spins
  br i1 %patient, label %pause, label %sleep
pause:
  ${pause}
  br label %watch
sleep:
  %asleep = atomicrmw add ptr %sleepers, i64 1 seq_cst, align 8
  %seen.wide = zext i32 %seen to i64
  ${sleep}
  %awakes = atomicrmw sub ptr %sleepers, i64 1 seq_cst, align 8
  br label %awake
awake:
  br label %watch
wake:
  %active = load atomic i64, ptr %active.place monotonic, align 8
  %invited = icmp slt i64 %number, %active
  br i1 %invited, label %help, label %next.generation
help:
  call void @lazyflow.claim(ptr %pool, i32 %generation)
  br label %next.generation
next.generation:
  br label %begin
}

; one task, by several threads where it has several chunks and no other job uses them
define internal i64 @lazyflow.task(ptr %task, ptr %pool) {
entry:
  %when.place = getelementptr i64, ptr %task, i64 ${WHEN}
  %when = load ptr, ptr %when.place
  %always = icmp eq ptr %when, null
  br i1 %always, label %go, label %ask
ask:
  %flag.place = load ptr, ptr %when
  %flag = load i8, ptr %flag.place
  %on = icmp ne i8 %flag, 0
  br i1 %on, label %go, label %skip
skip:
  ret i64 0
go:
  %extent.place = getelementptr i64, ptr %task, i64 ${EXTENT}
  %step.place = getelementptr i64, ptr %task, i64 ${CHUNK}
  %extent = load i64, ptr %extent.place
  %step = load i64, ptr %step.place
  %large = icmp sgt i64 %extent, %step
  br i1 %large, label %ask.pool, label %alone
ask.pool:
  %active.place = getelementptr i64, ptr %pool, i64 ${ACTIVE}
  %active = load atomic i64, ptr %active.place monotonic, align 8
  %workers = icmp sgt i64 %active, 0
  br i1 %workers, label %acquire, label %each
acquire:
  %busy = getelementptr i64, ptr %pool, i64 ${BUSY}
  %pair = cmpxchg ptr %busy, i64 0, i64 1 seq_cst monotonic, align 8
  %free = extractvalue { i64, i1 } %pair, 1
  br i1 %free, label %share, label %each
alone:
  %only = call i64 @lazyflow.chunk(ptr %task, i64 0)
  ret i64 %only
each:
  ; chunk by chunk, so that a function sees the same bounds whoever runs it
  %chunk = phi i64 [0, %ask.pool], [0, %acquire], [%chunk.next, %each.more]
  %begin = mul i64 %chunk, %step
  %some = icmp slt i64 %begin, %extent
  br i1 %some, label %each.run, label %each.done
each.run:
  %one = call i64 @lazyflow.chunk(ptr %task, i64 %chunk)
  %chunk.next = add i64 %chunk, 1
  %fine = icmp eq i64 %one, 0
  br i1 %fine, label %each.more, label %each.failed
each.more:
  br label %each
each.failed:
  ret i64 %one
each.done:
  ret i64 0
share:
  %task.place = getelementptr i64, ptr %pool, i64 ${TASK}
  %chunks.place = getelementptr i64, ptr %pool, i64 ${CHUNKS}
  %next = getelementptr i64, ptr %pool, i64 ${NEXT}
  %finished = getelementptr i64, ptr %pool, i64 ${FINISHED}
  %failed = getelementptr i64, ptr %pool, i64 ${FAILED}
  %sleepers.place = getelementptr i64, ptr %pool, i64 ${SLEEPERS}
  %up = add i64 %extent, %step
  %up.less = sub i64 %up, 1
  %chunks = sdiv i64 %up.less, %step
  %task.number = ptrtoint ptr %task to i64
  store atomic i64 0, ptr %finished monotonic, align 8
  store atomic i64 0, ptr %failed monotonic, align 8
  store atomic i64 %task.number, ptr %task.place monotonic, align 8
  store atomic i64 %chunks, ptr %chunks.place monotonic, align 8
  %old = load atomic i32, ptr %pool monotonic, align 8
  %generation = add i32 %old, 1
  %wide = zext i32 %generation to i64
  %first = shl i64 %wide, 32
  store atomic i64 %first, ptr %next seq_cst, align 8
  store atomic i32 %generation, ptr %pool seq_cst, align 8
  %sleepers = load atomic i64, ptr %sleepers.place seq_cst, align 8
  %any = icmp sgt i64 %sleepers, 0
  br i1 %any, label %wake, label %help
wake:
  ${wake}
  br label %help
help:
  call void @lazyflow.claim(ptr %pool, i32 %generation)
  br label %join
join:
  %tries = phi i64 [0, %help], [%more.tries, %pause], [%more.tries, %yield]
  %count = load atomic i64, ptr %finished seq_cst, align 8
  %all = icmp sge i64 %count, %chunks
  br i1 %all, label %close, label %wait
wait:
  %more.tries = add i64 %tries, 1
  %patient = icmp ult i64 %tries, 4000
  br i1 %patient, label %pause, label %yield
pause:
  ${pause}
  br label %join
yield:
  %yielded = call i32 @sched_yield()
  br label %join
close:
  %closed = or i64 %first, ${NO_CHUNK}
  store atomic i64 %closed, ptr %next seq_cst, align 8
  %status = load atomic i64, ptr %failed monotonic, align 8
  store atomic i64 0, ptr %busy seq_cst, align 8
  ret i64 %status
}

; every task of a job, for one step; 0, or the status of the task that failed
define internal i64 @lazyflow.step(ptr %job) {
entry:
  %tasks.place = getelementptr i64, ptr %job, i64 ${TASKS}
  %count.place = getelementptr i64, ptr %job, i64 ${COUNT}
  %pool.place = getelementptr i64, ptr %job, i64 ${POOL}
  %tasks = load ptr, ptr %tasks.place
  %count = load i64, ptr %count.place
  %pool = load ptr, ptr %pool.place
  br label %look
look:
  %index = phi i64 [0, %entry], [%following, %ended]
  %more = icmp slt i64 %index, %count
  br i1 %more, label %run, label %done
run:
  %offset = mul i64 %index, ${TASK_BYTES}
  %task = getelementptr i8, ptr %tasks, i64 %offset
  %status = call i64 @lazyflow.task(ptr %task, ptr %pool)
  %fine = icmp eq i64 %status, 0
  br i1 %fine, label %ended, label %failed
ended:
  %following = add i64 %index, 1
  br label %look
failed:
  %code.place = getelementptr i64, ptr %task, i64 ${STATUS}
  %code = load i64, ptr %code.place
  ret i64 %code
done:
  ret i64 0
}

; the addresses of what is fed, for a step
define internal void @lazyflow.patch(ptr %job, i64 %step) {
entry:
  %patches.place = getelementptr i64, ptr %job, i64 ${PATCHES}
  %count.place = getelementptr i64, ptr %job, i64 ${PATCH_COUNT}
  %feeds.place = getelementptr i64, ptr %job, i64 ${FEEDS}
  %width.place = getelementptr i64, ptr %job, i64 ${FEED_STEP}
  %addresses.place = getelementptr i64, ptr %job, i64 ${ADDRESSES}
  %patches = load ptr, ptr %patches.place
  %count = load i64, ptr %count.place
  %table = load ptr, ptr %feeds.place
  %width = load i64, ptr %width.place
  %addresses = load ptr, ptr %addresses.place
  %passed = mul i64 %step, %width
  %feeds = getelementptr i64, ptr %table, i64 %passed
  br label %look
look:
  %index = phi i64 [0, %entry], [%following, %one]
  %more = icmp slt i64 %index, %count
  br i1 %more, label %one, label %done
one:
  %row = mul i64 %index, 3
  %place.place = getelementptr i64, ptr %patches, i64 %row
  %feed.place = getelementptr i64, ptr %place.place, i64 1
  %offset.place = getelementptr i64, ptr %place.place, i64 2
  %place = load i64, ptr %place.place
  %feed = load i64, ptr %feed.place
  %offset = load i64, ptr %offset.place
  %base.place = getelementptr i64, ptr %feeds, i64 %feed
  %base = load i64, ptr %base.place
  %address = add i64 %base, %offset
  %target = getelementptr i64, ptr %addresses, i64 %place
  store i64 %address, ptr %target
  %following = add i64 %index, 1
  br label %look
done:
  ret void
}

; what is kept of a step
define internal void @lazyflow.keep(ptr %job, i64 %step) {
entry:
  %copies.place = getelementptr i64, ptr %job, i64 ${COPIES}
  %count.place = getelementptr i64, ptr %job, i64 ${COPY_COUNT}
  %copies = load ptr, ptr %copies.place
  %count = load i64, ptr %count.place
  br label %look
look:
  %index = phi i64 [0, %entry], [%following, %one]
  %more = icmp slt i64 %index, %count
  br i1 %more, label %one, label %done
one:
  %row = mul i64 %index, 3
  %source.place = getelementptr i64, ptr %copies, i64 %row
  %target.place = getelementptr i64, ptr %source.place, i64 1
  %bytes.place = getelementptr i64, ptr %source.place, i64 2
  %source = load ptr, ptr %source.place
  %first = load ptr, ptr %target.place
  %bytes = load i64, ptr %bytes.place
  %passed = mul i64 %step, %bytes
  %target = getelementptr i8, ptr %first, i64 %passed
  call void @llvm.memcpy.p0.p0.i64(ptr %target, ptr %source, i64 %bytes, i1 false)
  %following = add i64 %index, 1
  br label %look
done:
  ret void
}

define internal void @lazyflow.lock(ptr %lock) {
entry:
  br label %try
try:
  %pair = cmpxchg ptr %lock, i64 0, i64 1 seq_cst monotonic, align 8
  %mine = extractvalue { i64, i1 } %pair, 1
  br i1 %mine, label %done, label %try
done:
  ret void
}

; one thread in BLAS while jobs run; what it was when the last one ends
define internal void @lazyflow.blas(ptr %blas, i64 %change) {
entry:
  %none = icmp eq ptr %blas, null
  br i1 %none, label %done, label %enter
enter:
  %lock = getelementptr i64, ptr %blas, i64 ${LOCK}
  %set.place = getelementptr i64, ptr %blas, i64 ${SET}
  %get.place = getelementptr i64, ptr %blas, i64 ${GET}
  %jobs.place = getelementptr i64, ptr %blas, i64 ${JOBS}
  %saved.place = getelementptr i64, ptr %blas, i64 ${SAVED}
  call void @lazyflow.lock(ptr %lock)
  %jobs = load i64, ptr %jobs.place
  %now = add i64 %jobs, %change
  store i64 %now, ptr %jobs.place
  %both = add i64 %jobs, %now
  %edge = icmp eq i64 %both, 1
  br i1 %edge, label %turn, label %leave
turn:
  %set = load ptr, ptr %set.place
  %begins = icmp eq i64 %now, 1
  br i1 %begins, label %begin, label %end
begin:
  %get = load ptr, ptr %get.place
  %threads = call i32 %get()
  store i32 %threads, ptr %saved.place
  %one.already = icmp eq i32 %threads, 1
  br i1 %one.already, label %leave, label %set.one
set.one:
  call void %set(i32 1)
  br label %leave
end:
  %saved = load i32, ptr %saved.place
  %was.one = icmp eq i32 %saved, 1
  br i1 %was.one, label %leave, label %restore
restore:
  call void %set(i32 %saved)
  br label %leave
leave:
  store atomic i64 0, ptr %lock seq_cst, align 8
  br label %done
done:
  ret void
}

; a job: its steps, until one fails or the time is over
define i64 @lazyflow.run(ptr %job) {
entry:
  %blas.place = getelementptr i64, ptr %job, i64 ${BLAS}
  %steps.place = getelementptr i64, ptr %job, i64 ${STEPS}
  %time.place = getelementptr i64, ptr %job, i64 ${NANOSECONDS}
  %done.place = getelementptr i64, ptr %job, i64 ${DONE}
  %blas = load ptr, ptr %blas.place
  %steps = load i64, ptr %steps.place
  %time = load i64, ptr %time.place
  %several = icmp sgt i64 %steps, 1
  br i1 %several, label %clock, label %enter
clock:
  %started = call i64 @lazyflow.now()
  br label %enter
enter:
  %start = phi i64 [0, %entry], [%started, %clock]
  %limit = add i64 %start, %time
  store i64 0, ptr %done.place
  %mode = call i64 @lazyflow.mode(i64 ${USUAL_MODE})
  call void @lazyflow.blas(ptr %blas, i64 1)
  br label %look
look:
  %step = phi i64 [0, %enter], [%following, %check]
  call void @lazyflow.patch(ptr %job, i64 %step)
  %status = call i64 @lazyflow.step(ptr %job)
  %fine = icmp eq i64 %status, 0
  br i1 %fine, label %ended, label %leave
ended:
  call void @lazyflow.keep(ptr %job, i64 %step)
  %following = add i64 %step, 1
  store i64 %following, ptr %done.place
  %more = icmp slt i64 %following, %steps
  br i1 %more, label %check, label %leave
check:
  %now = call i64 @lazyflow.now()
  %early = icmp slt i64 %now, %limit
  br i1 %early, label %look, label %leave
leave:
  call void @lazyflow.blas(ptr %blas, i64 -1)
  %usual = call i64 @lazyflow.mode(i64 %mode)
  ret i64 %status
}
