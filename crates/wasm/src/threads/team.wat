;; What threads that share a loop do with the words of `cloche_tensor::cpu::Words`: the instructions for this are none that
;; Rust compiles a module to which must also run without shared memory. Host side: crates/tensor/src/cpu/team.rs.
(module
  (import "env" "memory" (memory 1 65536 shared))

  ;; calls: 0, left: 4, done: 8, lock: 12, failed: 16

  (func (export "begin") (param $words i32) (param $pieces i32)
    (i32.atomic.store offset=8 (local.get $words) (i32.const 0))
    (i32.atomic.store offset=4 (local.get $words) (local.get $pieces))
    (drop (i32.atomic.rmw.add (local.get $words) (i32.const 1)))
    (drop (memory.atomic.notify (local.get $words) (i32.const -1))))

  ;; Pieces are counted down, so that one word says both whether there is one and which.
  (func (export "take") (param $words i32) (result i32)
    (i32.sub (i32.atomic.rmw.sub offset=4 (local.get $words) (i32.const 1)) (i32.const 1)))

  (func (export "gave") (param $words i32) (param $pieces i32)
    (if (i32.eq
          (i32.add (i32.atomic.rmw.add offset=8 (local.get $words) (i32.const 1)) (i32.const 1))
          (local.get $pieces))
      (then (drop (memory.atomic.notify offset=8 (local.get $words) (i32.const 1))))))

  (func (export "end") (param $words i32) (param $pieces i32)
    (local $done i32)
    (loop $again
      (local.set $done (call $changed (i32.add (local.get $words) (i32.const 8)) (local.get $done)))
      (br_if $again (i32.ne (local.get $done) (local.get $pieces)))))

  ;; The word at $at: as soon as it is not $old, or after a tenth of a second, so that nobody sleeps on where a browser loses
  ;; a call. Looks for some 0.1 ms, which is longer than between two loops of a token, then sleeps: to be woken takes as long.
  (func $changed (export "changed") (param $at i32) (param $old i32) (result i32)
    (local $now i32) (local $looks i32)
    (local.set $looks (i32.const 200000))
    (loop $again
      (local.set $now (i32.atomic.load (local.get $at)))
      (if (i32.ne (local.get $now) (local.get $old)) (then (return (local.get $now))))
      (local.set $looks (i32.sub (local.get $looks) (i32.const 1)))
      (br_if $again (local.get $looks)))
    (drop (memory.atomic.wait32 (local.get $at) (local.get $old) (i64.const 100000000)))
    (local.get $old))

  ;; Held for as long as an allocation takes. Waiting in a loop by a timed wait32 never ends in V8 11.3 (Node 20).
  (func (export "lock") (param $words i32)
    (loop $again
      (br_if $again (i32.atomic.load offset=12 (local.get $words)))
      (br_if $again (i32.atomic.rmw.xchg offset=12 (local.get $words) (i32.const 1)))))

  (func (export "unlock") (param $words i32)
    (i32.atomic.store offset=12 (local.get $words) (i32.const 0))))
