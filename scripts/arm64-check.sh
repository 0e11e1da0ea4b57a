#!/usr/bin/env bash
# arm64-check.sh [PACKAGE]: checks that ARM processors compute the same results as this machine.
#
# Runs products with single matrices on three emulated processors and, given a PACKAGE, its ONNX model's perplexity over 64
# tokens (minutes, most of them for cortex-a53). Needs x86-64 Linux with Debian's tools, or an ARM machine, which is then
# the only processor tested. Downloads 200 MB once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
package=${1:+$(cd "$OLDPWD" && realpath "$1")}

make setup
.venv/bin/python -m benchmarks arm-matrices
if [ -n "$package" ]; then
    .venv/bin/edgesw validate "$package" --target onnx --runtime arm64 --windows 1 --tokens 64
fi
