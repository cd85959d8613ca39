# Sourced by the other scripts: unpacks a bundle (cargo xtask gpu-bundle) and finds the CUDA libraries of PyTorch's wheels.
# Expects BUNDLE; sets WORK (unpacked), RESULTS (what comes back) and LD_LIBRARY_PATH.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
WORK=${WORK:-$repository/runs/gpu}
RESULTS=${OUT:-$WORK/results}
mkdir -p "$WORK" "$RESULTS"

unpack() {
  (cd "$BUNDLE" && sha256sum --quiet -c SHA256SUMS)
  if ! cmp -s "$BUNDLE/SHA256SUMS" "$WORK/SHA256SUMS"; then
    mkdir -p "$WORK/programs" "$WORK/corpus"
    extract "$BUNDLE/programs.tar.xz" "$WORK/programs"
    extract "$BUNDLE/corpus.tar.xz" "$WORK/corpus"
    cp "$BUNDLE/SHA256SUMS" "$WORK/SHA256SUMS"
  fi
}

# Python reads xz where the tool is missing.
extract() {
  if command -v xz > /dev/null; then
    tar -C "$2" -xJf "$1"
  else
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1], "r:xz").extractall(sys.argv[2])' "$1" "$2"
  fi
}

find_libraries() {
  local found
  found=$(python3 - << 'PYTHON'
import glob, os, site, sys
roots = site.getsitepackages() + [os.path.join(p) for p in sys.path if p.endswith("-packages")]
folders = sorted({os.path.dirname(f) for root in roots for name in ("cublas", "cublasLt", "curand", "cudart", "nvrtc")
                  for f in glob.glob(os.path.join(root, "nvidia", "**", f"lib{name}.so*"), recursive=True)})
print(":".join(folders))
PYTHON
)
  export LD_LIBRARY_PATH="$found${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
}
