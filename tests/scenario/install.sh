#!/usr/bin/env bash
# The story of somebody who installs Quire and links a program of their own: everything is where it belongs, and a program
# that is built by pkg-config alone runs and needs no library but libquire and libc.
set -euo pipefail
build=$(dirname "$QUIRE_BIN")
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
die() { printf 'install: %s\n' "$*" >&2; exit 1; }

cmake --install "$build" --prefix "$prefix" >"$prefix/install.log"
files=(bin/quired bin/quirectl bin/quire-bench lib/libquire.so lib/libquire.so.0 lib/libquire_tls.so.0 lib/libquire_ucx.so.0 include/quire.h include/quire_types.h lib/pkgconfig/quire.pc \
  share/man/man1/quired.1 share/man/man1/quirectl.1 share/man/man1/quire-bench.1 share/bash-completion/completions/quirectl
  lib/systemd/system/quired.service share/doc/quire/quired.yaml share/doc/quire/ucx.env)
[ ! -x "$QUIRE_BIN/quire-llama" ] || files+=(bin/quire-llama share/man/man1/quire-llama.1)
for file in "${files[@]}"; do
  [ -s "$prefix/$file" ] || die "$file is not there"
done
grep -qx "ExecStart=$prefix/bin/quired" "$prefix/lib/systemd/system/quired.service" || die "the unit starts another quired than the installed one"
"$prefix/bin/quirectl" --version || die "the installed quirectl does not run"
[ -z "$QUIRE_SANITIZE" ] || exit 0 # a program that links a sanitized library needs its runtime

cat >"$prefix/program.c" <<'EOF'
#include <quire.h>
#include <stdio.h>
int main(void) { return puts(quire_version()) == EOF || puts(quire_status_text(QUIRE_MISS)) == EOF; }
EOF
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
read -ra flags <<<"$(pkg-config --cflags --libs quire)"
for compiler in gcc clang; do
  command -v "$compiler" >/dev/null || continue
  "$compiler" -std=c11 -Wall -Wextra -Wpedantic -Werror "$prefix/program.c" -o "$prefix/program" "${flags[@]}"
  LD_LIBRARY_PATH=$prefix/lib "$prefix/program" || die "the program built with $compiler does not run"
done
needed=$(LD_LIBRARY_PATH=$prefix/lib ldd "$prefix/program" | grep -vE 'libquire\.so\.0|libc\.so|libm\.so|ld-linux|linux-vdso' || true)
[ -z "$needed" ] || die "the program needs more than libquire and libc: $needed"
