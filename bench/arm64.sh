#!/usr/bin/env bash
# An arm64 Python with TensorFlow and the packages of the lock, to run under qemu-aarch64 without an arm64 machine.
#
#   bash bench/arm64.sh FOLDER requirements.lock     then: FOLDER/python -c 'import tensorflow'
#
# System packages come from the mirror that apt uses (debootstrap knows where Ubuntu keeps those for arm64), and wheels
# from the index that pip uses. Nothing is installed on this machine: packages and wheels are only unpacked into FOLDER.
# This takes 3 GB and a minute or two. FOLDER/python is written last: without it, the folder is incomplete.
set -euo pipefail
if [ "$(uname -m)" = aarch64 ]; then
  echo "This machine is arm64 itself: nothing to unpack."
  exit
fi
folder=$(realpath -m "$1") lock=$(realpath "$2")
if ! command -v qemu-aarch64 >/dev/null || ! command -v debootstrap >/dev/null; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "ERROR: expected qemu-aarch64 and debootstrap. One is missing. Install qemu-user and debootstrap." >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq qemu-user debootstrap
fi
mkdir -p "$folder"
rm -rf "$folder"/{python,wheels,packages,half}
mkdir "$folder"/{wheels,packages,half}

if [ ! -d "$folder/root" ]; then
  . /etc/os-release
  mirror=
  if [ "$ID" = debian ]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $VERSION_CODENAME" "Created-By: Packages" | sort -u | head -n 1)
  fi
  debootstrap --arch=arm64 --foreign --variant=minbase --include=python3,libstdc++6,zlib1g \
    "$VERSION_CODENAME" "$folder/half/stage" ${mirror:+"$mirror"} >"$folder/debootstrap.log" || {
    cat "$folder/debootstrap.log" >&2
    exit 1
  }
  mkdir "$folder/half/root"
  for package in "$folder"/half/stage/var/cache/apt/archives/*.deb; do dpkg -x "$package" "$folder/half/root"; done
  [ -e "$folder/half/root/lib" ] || ln -s usr/lib "$folder/half/root/lib"
  mv "$folder/half/root" "$folder/root"
fi

# Fetch the packages of the lock, and check their hashes. One package of DVC exists only as source: it is plain Python,
# and is built here.
awk '/^[a-z]/ { source = /^antlr4-python3-runtime==/ } !source' "$lock" >"$folder/half/requirements.txt"
awk '/^[a-z]/ { source = /^antlr4-python3-runtime==/ } source' "$lock" >"$folder/half/source.txt"
version=$(qemu-aarch64 -L "$folder/root" "$folder/root/usr/bin/python3" -c \
  'import sys; print("%d.%d" % sys.version_info[:2])')
pip download --quiet --disable-pip-version-check --only-binary=:all: --no-deps --python-version "$version" \
  --implementation cp --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
  --platform manylinux_2_26_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 --platform any \
  --dest "$folder/wheels" --requirement "$folder/half/requirements.txt"
pip wheel --quiet --disable-pip-version-check --no-deps --require-hashes \
  --wheel-dir "$folder/wheels" --requirement "$folder/half/source.txt"
for wheel in "$folder"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$folder/packages"; done
cp "$lock" "$folder/requirements.lock"
rm -rf "$folder"/{wheels,half}

cat >"$folder/python.new" <<'END'
#!/bin/sh
here=$(dirname "$(realpath "$0")")
PYTHONPATH=$here/packages${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
exec qemu-aarch64 -L "$here/root" "$here/root/usr/bin/python3" "$@"
END
chmod +x "$folder/python.new"
mv "$folder/python.new" "$folder/python"
