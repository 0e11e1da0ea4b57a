#!/usr/bin/env bash
# setup.sh FOLDER PYTHON ONNXRUNTIME NUMPY: what runs onnxruntime's aarch64 wheel on an x86-64 Linux, in FOLDER.
#
# No root, no container, nothing installed: Debian packages of the other architecture are unpacked into a folder, and
# QEMU runs their programs. About 200 MB, 700 MB while it works. Wants apt-get, dpkg and a Debian mirror: the one this
# machine uses, or DEBIAN_MIRROR.
set -euo pipefail
folder=$1 python=$2 onnxruntime=$3 numpy=$4

fail() { echo "$1" >&2; exit 1; }

for tool in apt-get dpkg; do
    command -v "$tool" >/dev/null || fail "arm64 is emulated with packages of Debian, and there is no '$tool' here."
done
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keys" ] || fail "no keys of Debian's archive at $keys: install debian-archive-keyring."
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' | grep debian | grep -v security | head -n 1 || true)}
[ -n "$mirror" ] || fail "this machine has no Debian mirror: name one in DEBIAN_MIRROR."

# unpack ARCHITECTURE SUITE TO PACKAGES...: with all that they depend on. apt-get keeps its state in `state`, and is told
# that nothing is installed.
unpack() {
    local architecture=$1 suite=$2 to=$3 state="$folder/apt-$1"
    shift 3
    mkdir -p "$state/lists/partial" "$state/archives/partial" "$to"
    echo "deb [signed-by=$keys] $mirror $suite main" >"$state/sources.list"
    : >"$state/status"
    local options=(
        -qq -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture"
        -o "Dir::Etc::sourcelist=$state/sources.list" -o "Dir::Etc::sourceparts=/dev/null"
        -o "Dir::State::lists=$state/lists" -o "Dir::State::status=$state/status"
        -o "Dir::Cache::archives=$state/archives" -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache="
        -o "APT::Sandbox::User=$(id -un)" -o "Acquire::Languages=none" -o "Debug::NoLocking=1"
        -o "Acquire::Retries=1" -o "Acquire::http::Timeout=30" -o "Acquire::https::Timeout=30"
    )
    apt-get "${options[@]}" update
    if [ "$to" = "$folder/qemu" ]; then
        (cd "$state/archives" && apt-get "${options[@]}" download "$@")
    else
        apt-get "${options[@]}" --yes --no-install-recommends --download-only install "$@"
    fi
    for package in "$state"/archives/*.deb; do dpkg -x "$package" "$to"; done
    rm -rf "$state"
}

unpack arm64 bookworm "$folder/root" python3.11-minimal libpython3.11-stdlib libstdc++6
# Before 8.2 QEMU shows programs the processor of the machine it runs on, and onnxruntime ends at import.
unpack amd64 trixie "$folder/qemu" qemu-user
find "$folder/qemu" -type f ! -name qemu-aarch64 -delete

"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version 3.11 --implementation cp \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
    --dest "$folder/wheels" "onnxruntime==$onnxruntime" "numpy==$numpy"
for wheel in "$folder"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$folder/site"; done
rm -r "$folder/wheels"
