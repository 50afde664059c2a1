#!/usr/bin/env bash
# One static binary for the edge computer: aarch64-unknown-linux-musl, for the Cortex-A76 of a Raspberry Pi CM5.
# Exit codes: 0 built and proved, 1 the build or a proof failed, 2 wrong usage, 3 something that it needs is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TARGET=aarch64-unknown-linux-musl
# A binary that outgrows this has taken something in that nobody meant to ship.
readonly SIZE_MAX_BYTES=16000000

usage() {
  cat <<TEXT
usage: scripts/build-cm5.sh [options]
  --cpu NAME      what the code is tuned for (default cortex-a76; generic runs on every AArch64)
  --profile NAME  profile of Cargo.toml (default dist)
  --out DIR       where pollux and pollux.sha256 are put (default target/cm5)
  --check         say what would be used, build nothing

The standard library for $TARGET comes from rustup, or is built from its source: of the toolchain (rust-src), or in
RUST_SRC_LIBRARY, the folder \`library\` of the source of this very compiler. ring and mimalloc need a C compiler for AArch64.
TEXT
}

die_usage() {
  printf 'build-cm5: %s\n' "$1" >&2
  usage >&2
  exit 2
}

missing() {
  printf 'build-cm5: %s\n' "$@" >&2
  exit 3
}

fail() {
  printf 'build-cm5: %s\n' "$1" >&2
  exit 1
}

parse_options() {
  CPU=cortex-a76 PROFILE=dist OUT=target/cm5 CHECK=no
  while (($# > 0)); do
    case "$1" in
      --check) CHECK=yes ;;
      -h | --help)
        usage
        exit 0
        ;;
      --cpu | --profile | --out)
        (($# > 1)) || die_usage "$1 needs a value"
        case "$1" in
          --cpu) CPU="$2" ;;
          --profile) PROFILE="$2" ;;
          --out) OUT="$2" ;;
        esac
        shift
        ;;
      *) die_usage "unknown option $1" ;;
    esac
    shift
  done
}

# `--print target-libdir` names the folder whether or not anything is in it.
has_std() {
  compgen -G "$(rustc --print target-libdir --target "$TARGET")/libstd-*.rlib" >/dev/null
}

# The folder `library` of the compiler's own source, if it is there and of the same version.
library_source() {
  local version library
  version="$(rustc --version | cut -d ' ' -f 2)"
  for library in "${RUST_SRC_LIBRARY:-}" "$(rustc --print sysroot)/lib/rustlib/src/rust/library"; do
    [[ -n "$library" && -f "$library/Cargo.lock" ]] || continue
    if [[ -f "$library/../version" && "$(cut -d ' ' -f 1 "$library/../version")" != "$version" ]]; then
      printf 'build-cm5: %s is not the source of Rust %s\n' "$library" "$version" >&2
      continue
    fi
    printf '%s\n' "$library"
    return
  done
  return 1
}

# Sets STD to `rustup` or `source`.
choose_std() {
  if ! has_std && command -v rustup >/dev/null; then
    echo "build-cm5: asking rustup for the standard library of $TARGET" >&2
    timeout 300 rustup target add "$TARGET" >&2 || true
  fi
  if has_std; then
    STD=rustup
  elif LIBRARY="$(library_source)"; then
    STD=source
  else
    missing "there is no standard library for $TARGET. One of these helps:" \
      "  rustup target add $TARGET" \
      "  rustup component add rust-src" \
      "  RUST_SRC_LIBRARY=DIR with the folder library of the source of $(rustc --version)" \
      "  (Debian packs it as rust-src; apt-get download and dpkg-deb -x are enough)"
  fi
}

# Sets CC and LINK. rust-lld links with what the rustup target brings; without that target, zig brings the C library.
choose_linker() {
  if [[ "$STD" == source ]]; then
    if ! command -v cargo-zigbuild >/dev/null || ! cargo-zigbuild zig version >/dev/null 2>&1; then
      missing "a standard library from source needs zig for the C library: pip install ziglang cargo-zigbuild"
    fi
    LINK=zig CC=zig
    return
  fi
  command -v aarch64-linux-gnu-gcc >/dev/null ||
    missing "ring and mimalloc need a C compiler for AArch64: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
  LINK=rust-lld CC=aarch64-linux-gnu-gcc
}

build() {
  local flags="-C target-feature=+crt-static --remap-path-prefix=$PWD=pollux"
  [[ "$CPU" == generic ]] || flags+=" -C target-cpu=$CPU"
  local arguments=(--locked --profile "$PROFILE" -p twin --bin pollux --target "$TARGET")
  if [[ "$STD" == rustup ]]; then
    env CC_aarch64_unknown_linux_musl="$CC" AR_aarch64_unknown_linux_musl=aarch64-linux-gnu-ar \
      CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER="$LINK" \
      CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="$flags" \
      cargo build "${arguments[@]}"
  else
    # rustc would pass start files of a folder that only the rustup target has; zig passes its own.
    env RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT="$LIBRARY" \
      CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="$flags -C link-self-contained=no" \
      cargo zigbuild -Z build-std=std,panic_abort "${arguments[@]}"
  fi
}

# Static, for AArch64, not too large, and it starts.
prove() { # FILE
  local headers size
  headers="$(readelf -hld "$1")"
  [[ "$headers" == *AArch64* ]] || fail "$1 is not for AArch64"
  [[ "$headers" != *"(NEEDED)"* && "$headers" != *INTERP* ]] || fail "$1 needs a library at run time"
  size="$(stat -c %s "$1")"
  ((size <= SIZE_MAX_BYTES)) || fail "$1 has $size bytes, more than $SIZE_MAX_BYTES"
  if command -v qemu-aarch64-static >/dev/null; then
    local model=cortex-a76
    [[ "$CPU" == generic ]] && model=cortex-a53
    qemu-aarch64-static -cpu "$model" "$1" --version || fail "$1 does not start under qemu"
  else
    echo "build-cm5: not started: there is no qemu-aarch64-static (apt-get install qemu-user-static)" >&2
  fi
}

main() {
  parse_options "$@"
  choose_std
  choose_linker
  printf 'build-cm5: %s, standard library from %s, linked by %s, tuned for %s, profile %s\n' \
    "$(rustc --version)" "$STD" "$LINK" "$CPU" "$PROFILE" >&2
  [[ "$CHECK" == no ]] || return 0
  build
  mkdir -p "$OUT"
  install -m 755 "${CARGO_TARGET_DIR:-target}/$TARGET/$PROFILE/pollux" "$OUT/pollux"
  prove "$OUT/pollux"
  (cd "$OUT" && sha256sum pollux >pollux.sha256)
  printf '%s: %d bytes, sha256 %s\n' "$OUT/pollux" "$(stat -c %s "$OUT/pollux")" "$(cut -c 1-64 "$OUT/pollux.sha256")"
}

main "$@"
