#!/usr/bin/env bash
# Builds and tests EdgeSWKit, and parses all Swift files of the demo, including those that only a Mac can compile.
#
# Uses `swift` (6.0 or later) if it is installed. Otherwise, as root on Debian, it creates a Debian 13 with Debian's own
# Swift in ~/.cache/edgesw/swift-root (EDGESW_SWIFT_ROOT; downloads about 530 MB, once, in some minutes) and runs in it by
# chroot. The project's Python writes the golden files: run `make setup` first.
#
# swift-test.sh --build does only what needs no Python: it provides Swift and compiles the package with its tests. Other
# arguments go to `swift test`.
set -euo pipefail
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/edgesw"
root="${EDGESW_SWIFT_ROOT:-$cache/swift-root}"
ready="$root/.edgesw-ready" unfinished=.edgesw-unfinished
python="${EDGESW_PYTHON:-$repository/.venv/bin/python}"

fail() {
    echo "$1" >&2
    exit 2
}

has_swift() {
    command -v swift >/dev/null && swift --version 2>/dev/null | grep -qE 'Swift version ([6-9]|[1-9][0-9])\.'
}

in_root=()
mounted=()
unmount() {
    local path
    for path in "${mounted[@]+"${mounted[@]}"}"; do umount "$path" 2>/dev/null || umount -l "$path" || true; done
}
trap unmount EXIT

make_root() {
    echo "== creating a Debian 13 with Swift in $root (once, takes some minutes)"
    if [ -e "$root/$unfinished" ]; then rm -rf --one-file-system "$root"; fi
    mkdir -p "$root"
    [ -z "$(ls -A "$root")" ] || fail "$root contains other files: set EDGESW_SWIFT_ROOT to another folder."
    touch "$root/$unfinished"
    command -v debootstrap >/dev/null || { apt-get update && apt-get install -y --no-install-recommends debootstrap; } >/dev/null 2>&1 ||
        fail "debootstrap could not be installed: install it, or Swift 6 (swift.org/install)."
    # The first Debian mirror that this machine uses, or Debian's own.
    local mirror log="$cache/swift-root.log"
    mkdir -p "$cache"
    mirror="$( (grep -hoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true) | head -n 1 | tr -d ' ')"
    if ! { debootstrap --variant=minbase trixie "$root" "${mirror:-http://deb.debian.org/debian}" &&
        mount -t proc proc "$root/proc" && mounted+=("$root/proc") &&
        chroot "$root" apt-get install -y --no-install-recommends swiftlang libc6-dev libstdc++-14-dev &&
        chroot "$root" apt-get clean; } >"$log" 2>&1; then
        fail "Debian 13 with swiftlang could not be installed: see $log, or install Swift 6 (swift.org/install)."
    fi
    rm "$root/$unfinished"
    touch "$ready"
}

# The compiler's paths: these, or their counterparts in the root.
kit="$repository/apps/ios-demo"
golden="${EDGESW_GOLDEN:-$cache/swift-golden}"
scratch="$cache/swift-build"

if has_swift; then
    mkdir -p "$scratch"
elif [ "$(uname)" = Linux ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    [ -e "$ready" ] || make_root
    in_root=(chroot "$root")
    mkdir -p "$root/repository" "$root/golden" "$root/build"
    if [ ! -e "$root/proc/self" ]; then
        mount -t proc proc "$root/proc" && mounted+=("$root/proc") ||
            fail "/proc cannot be mounted in $root: install Swift 6 (swift.org/install), or run this with more privileges."
    fi
else
    fail "Swift 6 is not installed: install it (swift.org/install), or run this as root on Debian."
fi

# in_root_as FOLDER NAME: the folder is mounted in the root, or copied if that is not allowed.
in_root_as() {
    local to="$root/$2"
    if mount --bind "$1" "$to" 2>/dev/null; then
        mounted+=("$to")
    else
        rm -rf --one-file-system "$to"
        mkdir "$to"
        cp -R "$1/." "$to"
    fi
}

if [ ${#in_root[@]} -gt 0 ]; then
    in_root_as "$kit" repository
    kit=/repository scratch=/build
fi
# Optimized, since the 10,000 lines take minutes otherwise. The tests access internal names, hence -enable-testing.
package=(--package-path "$kit/EdgeSWKit" --scratch-path "$scratch" -c release -Xswiftc -enable-testing)
build() {
    echo "== swift build"
    "${in_root[@]+"${in_root[@]}"}" swift build --build-tests "${package[@]}"
}

if [ "${1:-}" = --build ]; then
    build
    exit
fi

# The compiler uses one core for most of its time: the golden files are written meanwhile.
writing=
if [ -z "${EDGESW_GOLDEN:-}" ]; then
    [ -x "$python" ] || fail "$python, which writes the golden files, does not exist: run 'make setup' first."
    "$python" "$repository/scripts/swift_goldens" "$golden" &
    writing=$!
fi
build
if [ -n "$writing" ]; then
    echo "== golden files"
    wait "$writing"
fi
if [ ${#in_root[@]} -gt 0 ]; then
    in_root_as "$golden" golden
    golden=/golden
fi

cd "$repository"
echo "== swift test"
"${in_root[@]+"${in_root[@]}"}" env EDGESW_GOLDEN="$golden" swift test --skip-build "${package[@]}" "$@"

echo "== swiftc -parse"
sources=()
while IFS= read -r file; do sources+=("$kit/${file#apps/ios-demo/}"); done < <(
    find apps/ios-demo -name '*.swift' -not -path '*/.build/*' | sort)
"${in_root[@]+"${in_root[@]}"}" swiftc -parse -swift-version 6 "${sources[@]}"
echo "${#sources[@]} Swift files parse"
