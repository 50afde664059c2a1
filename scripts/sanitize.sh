#!/usr/bin/env bash
# Runs the tests of `ecs` and `netloop` under the address sanitizer, and the ring, the wake-up line and the parallel
# executor under the thread sanitizer. Says what it runs; fails when a sanitizer cannot run, when it does not see a planted fault, or when it
# reports one of ours.
#
#   scripts/sanitize.sh            both
#   scripts/sanitize.sh address    memory: out of bounds, use after free, leaks
#   scripts/sanitize.sh thread     data races between two threads
#
# Both sanitizers ship with the stable compiler and are unlocked for this script alone (RUSTC_BOOTSTRAP). The standard
# library is not rebuilt: the address sanitizer does not need it, and the thread sanitizer would mistake the test
# harness's uninstrumented channels for races. So the latter runs programs without a harness, which share nothing
# between threads but what is under test; starting and joining threads it understands by itself.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-both}
case $what in address | thread | both) ;; *)
    echo "sanitize: '$what' is not known; allowed are address, thread and both" >&2
    exit 64
    ;;
esac

triple=$(rustc -vV | sed -n 's/^host: //p')
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export RUSTC_BOOTSTRAP=1

# plant NAME FLAGS...: compiles the faulty program $scratch/NAME.rs and demands that the sanitizer stops it.
plant() {
    local name=$1
    shift
    rustc --edition 2024 -O -g "$@" --target "$triple" -o "$scratch/$name" "$scratch/$name.rs"
    if "$scratch/$name" >"$scratch/$name.out" 2>&1; then
        echo "sanitize: the planted fault '$name' was not seen; the sanitizer does not work here" >&2
        exit 1
    fi
    if ! grep -q "$(printf 'ERROR: AddressSanitizer\\|WARNING: ThreadSanitizer: data race')" "$scratch/$name.out"; then
        cat "$scratch/$name.out" >&2
        echo "sanitize: '$name' failed, but not by a report of the sanitizer" >&2
        exit 1
    fi
    echo "sanitize: planted fault '$name' is seen"
}

address() {
    local flags=(-Zsanitizer=address)
    cat >"$scratch/use_after_free.rs" <<'RUST'
fn main() {
    let mut bytes = Box::new([1_u8; 64]);
    let address: *mut u8 = bytes.as_mut_ptr();
    drop(bytes);
    // The fault: the box is gone.
    println!("{}", unsafe { std::ptr::read_volatile(address) });
}
RUST
    plant use_after_free "${flags[@]}"
    # Locked, the sanitizer's shadow of the memory would not fit into any; confined, its runtime would be stopped.
    local left_out=(--skip confined_thread --skip locked_memory)
    echo "sanitize: address: cargo test -p ecs -p netloop (libraries and integration tests), without ${left_out[*]}"
    RUSTFLAGS="${flags[*]}" ASAN_OPTIONS=detect_leaks=1 \
        cargo test --locked -p ecs -p netloop --lib --tests --target "$triple" --target-dir target/sanitize-address \
        -- "${left_out[@]}"
}

thread() {
    local flags=(-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer)
    cat >"$scratch/data_race.rs" <<'RUST'
struct Shared(std::cell::UnsafeCell<u64>);
unsafe impl Sync for Shared {}
static SHARED: Shared = Shared(std::cell::UnsafeCell::new(0));
// The fault: two threads write without order.
fn count() {
    for _ in 0..10_000 {
        unsafe { *SHARED.0.get() = std::ptr::read_volatile(SHARED.0.get()) + 1 };
    }
}
fn main() {
    let other = std::thread::spawn(count);
    count();
    other.join().unwrap();
}
RUST
    plant data_race "${flags[@]}"
    echo "sanitize: thread: race.rs of netloop (ring, gauge, wake-up line, counters) and ecs (stages, parallel walks)"
    RUSTFLAGS="${flags[*]}" TSAN_OPTIONS=halt_on_error=1 \
        cargo test --locked -p netloop -p ecs --test race --target "$triple" --target-dir target/sanitize-thread
}

[[ $what == thread ]] || address
[[ $what == address ]] || thread
echo "sanitize: $what: nothing found"
