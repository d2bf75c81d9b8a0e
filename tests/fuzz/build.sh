#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzz targets, and the program that writes their seeds, into build-fuzz/ with clang,
# libFuzzer, ASan and UBSan. Only what a target needs is compiled, all of it with coverage.
#   tests/fuzz/build.sh [TARGET...]        CC, FUZZ_BUILD and BLAKE3_DIR may be set
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
out=${FUZZ_BUILD:-$top/build-fuzz}
cc=${CC:-clang}
cd "$top"
if ! command -v "$cc" >/dev/null; then
	echo "cannot build the fuzz targets: there is no $cc; install clang, or set CC" >&2
	exit 1
fi
mkdir -p "$out/obj" "$out/bin"

blake3_objs=
if pkg-config --exists libblake3; then
	blake3_flags="$(pkg-config --cflags libblake3)"
	blake3_libs="$(pkg-config --libs libblake3)"
else
	blake3_dir=$(tools/find-blake3.sh)
	blake3_flags="-isystem $blake3_dir"
	blake3_libs=
	case $(uname -m) in
	x86_64) sources="blake3.c blake3_dispatch.c blake3_portable.c
		blake3_sse2_x86-64_unix.S blake3_sse41_x86-64_unix.S
		blake3_avx2_x86-64_unix.S blake3_avx512_x86-64_unix.S" ;;
	aarch64) sources="blake3.c blake3_dispatch.c blake3_portable.c blake3_neon.c"
		blake3_flags="$blake3_flags -DBLAKE3_USE_NEON=1" ;;
	*) sources="blake3.c blake3_dispatch.c blake3_portable.c" ;;
	esac
	for source in $sources; do
		object=$out/obj/${source%.*}.o
		[ -e "$object" ] || $cc -O3 -w $blake3_flags -c "$blake3_dir/$source" -o "$object"
		blake3_objs="$blake3_objs $object"
	done
fi

flags="-std=gnu17 -g -O1 -fno-omit-frame-pointer -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -Isrc
	-Itests/fuzz -fsanitize=address,undefined -fno-sanitize-recover=all -Wall
	$blake3_flags $(pkg-config --cflags jansson)"
libs="$blake3_libs $(pkg-config --libs jansson) -lpthread -lm"

# An object is made anew when its source or any header is younger.
newest_header=$(find src tests/fuzz -name '*.h' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
compile() { # SOURCE...: prints the objects
	local source object failed=0

	for source in "$@"; do
		object=$out/obj/$(echo "${source%.c}" | tr / -).o
		echo "$object"
		if [ ! -e "$object" ] || [ "$source" -nt "$object" ] ||
			[ "$newest_header" -nt "$object" ]; then
			[ "$(jobs -rp | wc -l)" -lt "$(nproc)" ] || wait -n || failed=1
			$cc $flags -fsanitize=fuzzer-no-link -c "$source" -o "$object" &
		fi
	done
	while [ -n "$(jobs -p)" ]; do
		wait -n || failed=1
		jobs >/dev/null # those that have ended are forgotten
	done
	return $failed
}

needs() { # TARGET: prints the sources it fuzzes, beyond base and format
	case $1 in
	seeds | fuzz_schema) echo src/meta/schema*.c src/meta/cursor.c src/meta/txn.c tests/fuzz/stub_meta.c ;;
	fuzz_ctl) echo src/ctl/wire.c src/ctl/result.c ;;
	fuzz_pool) # the engine, with the index that lies in memory
		echo tests/fuzz/mem_dev.c sim/sim_env.c src/dev/*.c src/codec/*.c src/place/*.c src/extent/*.c \
			src/pool/*.c src/file/*.c
		for source in src/meta/*.c; do
			[[ $source = src/meta/index_rocks* ]] || echo "$source"
		done ;;
	esac
}

needs_libs() { # TARGET: prints the libraries beyond those of all
	case $1 in
	fuzz_pool) pkg-config --libs libisal libzstd ;;
	esac
}

common=$(compile src/base/*.c src/format/*.c)
objects=$(compile tests/fuzz/seeds.c $(needs seeds))
$cc $flags $objects $common $blake3_objs $libs \
	-fsanitize=fuzzer-no-link -o "$out/bin/seeds"
[ $# -gt 0 ] || set -- $(cd tests/fuzz && ls fuzz_*.c | sed 's/\.c$//')
for target in "$@"; do
	objects=$(compile "tests/fuzz/$target.c" $(needs "$target"))
	$cc $flags $objects $common $blake3_objs $libs $(needs_libs "$target") \
		-fsanitize=fuzzer -o "$out/bin/$target"
done
