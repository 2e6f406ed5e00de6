#!/usr/bin/env bash
# Write docker/requirements.txt and requirements-build.txt: what the serving image installs, with the hash of every wheel.
# Run it (`make lock`) after constraints.txt or the dependencies in pyproject.toml have changed.
set -euo pipefail
cd "$(dirname "$0")/.."

# tokenizers asks for these, to download from a hub; serving reads folders. So the image is installed with --no-deps.
UNUSED=(certifi charset-normalizer filelock fsspec hf-xet huggingface-hub pyyaml requests tqdm urllib3)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pip-tools==7.6.2
compile() { # compile OUTPUT INPUT [OPTION...]
  local output=$1 input=$2
  shift 2
  "$work/venv/bin/pip-compile" --quiet --generate-hashes --no-annotate --no-header --strip-extras --no-emit-index-url \
    --no-emit-find-links --constraint constraints.txt "$@" --output-file "$work/out.txt" "$input"
  {
    echo "# Made by \`make lock\` (docker/lock.sh) from pyproject.toml and constraints.txt."
    grep -v '^#' "$work/out.txt" | sed '/^$/d'
  } > "$output"
  rm "$work/out.txt"
}
compile docker/requirements.txt pyproject.toml "${UNUSED[@]/#/--unsafe-package=}"
echo setuptools > "$work/build.in"
compile docker/requirements-build.txt "$work/build.in" --allow-unsafe
