#!/usr/bin/env bash
# Builds and tests EdgeSWKit, and parses every Swift file of the demo, those too that only a Mac can compile.
#
# Uses `swift` (6.0 or later) where it is installed. Else, as root on Debian, it makes a Debian 13 with Debian's own Swift
# in ~/.cache/edgesw/swift-root (EDGESW_SWIFT_ROOT; about 530 MB and some minutes, once) and works in there by chroot.
# The golden files are made by the project's Python: `make setup` first.
set -euo pipefail
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/edgesw"
root="${EDGESW_SWIFT_ROOT:-$cache/swift-root}"
ready="$root/.edgesw-ready" half=.edgesw-unfinished
python="${EDGESW_PYTHON:-$repository/.venv/bin/python}"

fail() {
    echo "$1" >&2
    exit 2
}

has_swift() {
    command -v swift >/dev/null && swift --version 2>/dev/null | grep -qE 'Swift version ([6-9]|[1-9][0-9])\.'
}

make_root() {
    echo "== a Debian 13 with Swift, in $root: once, in some minutes"
    if [ -e "$root/$half" ]; then rm -rf --one-file-system "$root"; fi
    mkdir -p "$root"
    [ -z "$(ls -A "$root")" ] || fail "$root holds something else: name another folder by EDGESW_SWIFT_ROOT."
    touch "$root/$half"
    command -v debootstrap >/dev/null || { apt-get update && apt-get install -y --no-install-recommends debootstrap; } >/dev/null 2>&1 ||
        fail "debootstrap cannot be installed: install it, or Swift 6 (swift.org/install)."
    # Of the mirrors that this machine uses, the first that has Debian 13; else Debian's own.
    local mirror log="$cache/swift-root.log"
    mkdir -p "$cache"
    mirror="$( (grep -hoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true) | head -n 1 | tr -d ' ')"
    if ! { debootstrap --variant=minbase trixie "$root" "${mirror:-http://deb.debian.org/debian}" &&
        mount -t proc proc "$root/proc" &&
        chroot "$root" apt-get install -y --no-install-recommends swiftlang libc6-dev libstdc++-14-dev &&
        chroot "$root" apt-get clean; } >"$log" 2>&1; then
        umount "$root/proc" 2>/dev/null || true
        fail "Debian 13 with swiftlang could not be made: see $log, or install Swift 6 (swift.org/install)."
    fi
    umount "$root/proc"
    rm "$root/$half"
    touch "$ready"
}

inside=()
mounted=()
leave() {
    local place
    for place in "${mounted[@]+"${mounted[@]}"}"; do umount "$place" 2>/dev/null || umount -l "$place" || true; done
}
trap leave EXIT

# Paths as the compiler sees them: these, or those in the root.
kit="$repository/apps/ios-demo"
golden="${EDGESW_GOLDEN:-$cache/swift-golden}"
scratch="$cache/swift-build"

if has_swift; then
    mkdir -p "$scratch"
elif [ "$(uname)" = Linux ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    [ -e "$ready" ] || make_root
    inside=(chroot "$root")
    mkdir -p "$root/repository" "$root/golden" "$root/build"
    if [ ! -e "$root/proc/self" ]; then
        mount -t proc proc "$root/proc" && mounted+=("$root/proc") ||
            fail "/proc cannot be mounted in $root: install Swift 6 (swift.org/install), or run this with more rights."
    fi
else
    fail "There is no Swift 6: install it (swift.org/install); on Debian, root can run this without it."
fi

if [ -z "${EDGESW_GOLDEN:-}" ]; then
    [ -x "$python" ] || fail "There is no $python, which makes the golden files: run 'make setup' first."
    echo "== golden files"
    "$python" "$repository/scripts/swift_goldens" "$golden"
fi

if [ ${#inside[@]} -gt 0 ]; then
    # The folders are shown in the root, or where that is not allowed copied.
    for pair in "$kit:repository" "$golden:golden"; do
        from="${pair%:*}" to="$root/${pair##*:}"
        if mount --bind "$from" "$to" 2>/dev/null; then
            mounted+=("$to")
        else
            rm -rf --one-file-system "$to"
            mkdir "$to"
            cp -R "$from/." "$to"
        fi
    done
    kit=/repository golden=/golden scratch=/build
fi

cd "$repository"
echo "== swift test"
# Optimised: the 10,000 lines take minutes otherwise. The tests look into the module, hence the flag.
"${inside[@]+"${inside[@]}"}" env EDGESW_GOLDEN="$golden" swift test --package-path "$kit/EdgeSWKit" --scratch-path "$scratch" \
    -c release -Xswiftc -enable-testing "$@"

echo "== swiftc -parse"
sources=()
while IFS= read -r file; do sources+=("$kit/${file#apps/ios-demo/}"); done < <(
    find apps/ios-demo -name '*.swift' -not -path '*/.build/*' | sort)
"${inside[@]+"${inside[@]}"}" swiftc -parse -swift-version 6 "${sources[@]}"
echo "${#sources[@]} Swift files parse"
