#!/usr/bin/env bash
# The binary for the edge computer as a Debian package and as an image, each with the licences of what is linked into it, and
# each proved: what is in it, and that it serves.
# usage: scripts/package-cm5.sh [deb] [image]   (default both; into target/cm5, from the binary of scripts/build-cm5.sh)
# Exit codes: 0 made and proved, 1 a step or a proof failed, 2 wrong usage, 3 something that it needs is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TARGET=aarch64-unknown-linux-musl
readonly BUILT="${CARGO_TARGET_DIR:-target}/$TARGET/dist"
readonly BINARY="$BUILT/pollux"
readonly OUT=target/cm5
readonly RECORDS=200

work="$(mktemp -d)"
serve_pid=""
finish() {
  [[ -z "$serve_pid" ]] || kill "$serve_pid" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

fail() {
  printf 'package-cm5: %s\n' "$1" >&2
  exit 1
}

needs() { # COMMAND HOW
  command -v "$1" >/dev/null || { printf 'package-cm5: %s is missing: %s\n' "$1" "$2" >&2; exit 3; }
}

emulated() { qemu-aarch64-static -cpu cortex-a76 "$@"; }

# The notices lie beside the binary, where cargo-deb looks, and where the image takes its files from.
make_notices() {
  scripts/third-party.py --target "$TARGET" --out "$BUILT/THIRD-PARTY"
  install -D -m 644 "$BUILT/THIRD-PARTY" "$OUT/THIRD-PARTY"
}

make_deb() {
  needs cargo-deb "cargo install --locked cargo-deb"
  needs dpkg-deb "apt-get install dpkg"
  needs systemd-analyze "apt-get install systemd"
  needs lintian "apt-get install lintian"
  needs deb-systemd-helper "apt-get install init-system-helpers"
  needs qemu-aarch64-static "apt-get install qemu-user-static"
  scripts/manual.sh "$BINARY" qemu-aarch64-static -cpu cortex-a76
  rm -f "$OUT"/*.deb
  cargo deb --quiet --no-build --no-strip --locked -p twin --target "$TARGET" --profile dist --output "$OUT/" >/dev/null
  prove_deb "$OUT"/*.deb
}

# The package of this very binary, for this architecture, in need of nothing, with a unit that systemd reads, which stays off
# until somebody enables it.
prove_deb() { # FILE
  local root="$work/deb" said
  [[ "$(dpkg-deb --field "$1" Package Architecture Depends)" == $'Package: pollux\nArchitecture: arm64' ]] ||
    fail "$1 is not for arm64, or depends on something: $(dpkg-deb --field "$1")"
  lintian --allow-root --fail-on error "$1" || fail "lintian finds errors in $1"
  dpkg-deb --raw-extract "$1" "$root"
  [[ "$(zcat "$root/usr/share/doc/pollux/changelog.Debian.gz" | head -n 1)" == "pollux ($(dpkg-deb --field "$1" Version)) "* ]] ||
    fail "deploy/debian/changelog does not begin with the version that is packed"
  cmp "$BINARY" "$root/usr/bin/pollux" || fail "$1 holds another binary"
  [[ -e "$root/usr/lib/sysctl.d/90-pollux.conf" ]] || fail "$1 lacks the kernel settings"
  [[ -e "$root/usr/share/man/man1/pollux-serve.1.gz" ]] || fail "$1 lacks the manual pages"
  bash -n "$root/usr/share/bash-completion/completions/pollux" || fail "$1 holds completions that bash cannot read"
  prove_scripts "$root/DEBIAN"
  cmp "$OUT/THIRD-PARTY" "$root/usr/share/doc/pollux/THIRD-PARTY" || fail "$1 lacks the notices of others"
  sed "s|^ExecStart=pollux |ExecStart=$root/usr/bin/pollux |" "$root/usr/lib/systemd/system/pollux.service" >"$work/pollux.service"
  said="$(systemd-analyze verify --man=no "$work/pollux.service" 2>&1 | grep -F pollux || true)"
  [[ -z "$said" ]] || fail "systemd complains about the unit: $said"
  DPKG_ROOT="$root" DPKG_MAINTSCRIPT_PACKAGE=pollux sh "$root/DEBIAN/postinst" configure || fail "$1 cannot be installed"
  [[ -z "$(find "$root" -path '*.wants/*')" ]] || fail "$1 enables the service before there are certificates"
  printf '%s: %d bytes\n' "$1" "$(stat -c %s "$1")"
}

# A processor without what the binary needs is refused in words, where that binary would end with SIGILL; the settings of the
# kernel are applied. Neither changes this host: a file stands for its processor, and a command of ours for sysctl.
prove_scripts() { # FOLDER
  local features="fp asimd aes crc32 atomics fphp asimdhp lrcpc asimddp" said
  printf 'Features\t: %s\n' "$features" >"$work/a76"
  printf 'Features\t: %s\n' "fp asimd aes crc32" >"$work/a72"
  POLLUX_CPUINFO="$work/a76" sh "$1/preinst" install || fail "the package refuses a Cortex-A76"
  if said="$(POLLUX_CPUINFO="$work/a72" sh "$1/preinst" install 2>&1)"; then fail "the package takes a Cortex-A72"; fi
  [[ "$said" == *"lacks atomics"*Cortex-A76* ]] || fail "the package does not say why it refuses a Cortex-A72: $said"
  mkdir -p "$work/bin"
  printf '#!/bin/sh\necho "$@" >"%s"\n' "$work/sysctl" >"$work/bin/sysctl"
  chmod +x "$work/bin/sysctl"
  # Only what stands before the generated part, which is about the unit and for the host that it is installed on.
  sed '/^# Automatically added/,$d' "$1/postinst" >"$work/postinst"
  PATH="$work/bin:$PATH" sh "$work/postinst" configure || fail "the settings of the kernel cannot be applied"
  [[ -s "$work/sysctl" ]] || fail "the package does not apply the settings of the kernel"
}

make_image() {
  local tool
  needs unshare "apt-get install util-linux"
  needs qemu-aarch64-static "apt-get install qemu-user-static"
  tool="$(command -v buildah || command -v podman)" || needs buildah "apt-get install buildah (or podman)"
  cmp -s "$BINARY" "$OUT/pollux" || fail "$OUT/pollux is not of the last build: scripts/build-cm5.sh"
  "$tool" build --quiet --platform linux/arm64 -f deploy/Containerfile -t localhost/pollux . >/dev/null
  rm -f "$OUT/pollux.oci.tar"
  "$tool" push --quiet localhost/pollux "oci-archive:$OUT/pollux.oci.tar"
  prove_image "$OUT/pollux.oci.tar"
}

# Unpacks the layers into a folder and writes the command of the image, a word a line.
unpack() { # ARCHIVE FOLDER
  python3 - "$@" <<'END'
import io, json, sys, tarfile

archive, folder = tarfile.open(sys.argv[1]), sys.argv[2]
blob = lambda digest: archive.extractfile("blobs/" + digest.replace(":", "/")).read()
index = json.load(archive.extractfile("index.json"))
manifest = json.loads(blob(index["manifests"][0]["digest"]))
image = json.loads(blob(manifest["config"]["digest"]))
names = []
for layer in manifest["layers"]:
    with tarfile.open(fileobj=io.BytesIO(blob(layer["digest"]))) as files:
        names += files.getnames()
        files.extractall(folder)
assert image["architecture"] == "arm64", image
assert image["config"]["User"] == "65534:65534", image
licences = {"licenses/" + name for name in ("LICENSE-APACHE", "LICENSE-MIT", "THIRD-PARTY")}
assert set(names) - {"licenses", "licenses/"} == {"pollux"} | licences, names
print(*image["config"]["Entrypoint"], *image["config"]["Cmd"], sep="\n")
END
}

# The image's own command as its own user in a file system that holds the image, a configuration, certificates and the
# emulator: a device's records are acknowledged.
prove_image() { # ARCHIVE
  local root="$work/image" words address="" try
  mkdir "$root"
  unpack "$1" "$root" >"$work/words"
  mapfile -t words <"$work/words"
  cmp "$BINARY" "$root/pollux" || fail "$1 holds another binary"
  cmp "$OUT/THIRD-PARTY" "$root/licenses/THIRD-PARTY" || fail "$1 holds other notices"
  cp "$(command -v qemu-aarch64-static)" "$root/qemu"
  emulated "$BINARY" config init --config "$root/pollux.toml" >/dev/null
  emulated "$BINARY" certs init --dir "$root/certs" --gateway plant >/dev/null 2>&1
  # What runs beside the loop below may open its log after the first look at it.
  : >"$work/serve.log"
  unshare --user --map-user=65534 --map-group=65534 --root="$root" /qemu -cpu cortex-a76 "${words[@]}" \
    --set net.addr=127.0.0.1:0 --set http.addr=127.0.0.1:0 >"$work/serve.out" 2>"$work/serve.log" &
  serve_pid=$!
  for ((try = 0; try < 1200; try++)); do
    address="$(sed -n 's/^listening quic //p' "$work/serve.log")"
    [[ -z "$address" ]] || break
    sleep 0.05
  done
  [[ -n "$address" ]] || { cat "$work/serve.log" >&2; fail "the image does not listen"; }
  emulated "$BINARY" simulate --addr "$address" --ca "$root/certs/ca.pem" \
    --cert "$root/certs/gateway-plant.pem" --key "$root/certs/gateway-plant.key" \
    --devices 2 --rate-hz 0 --t2-rate-hz 20 --count "$RECORDS" -o json >"$work/load.json" || fail "no device reaches the image"
  python3 -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["acknowledged"]["t2"] != int(sys.argv[2]))' \
    "$work/load.json" "$RECORDS" || fail "records are missing: $(cat "$work/load.json")"
  kill "$serve_pid"
  wait "$serve_pid" || fail "the image does not end in order"
  serve_pid=""
  printf '%s: %d bytes\n' "$1" "$(stat -c %s "$1")"
}

(($# > 0)) || set -- deb image
for form in "$@"; do
  [[ "$form" == deb || "$form" == image ]] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
done
[[ -x "$BINARY" ]] || { echo "package-cm5: $BINARY is not there: scripts/build-cm5.sh makes it" >&2; exit 3; }
make_notices
for form in "$@"; do
  "make_$form"
done
