#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that DynamicFS needs and that are missing; says which. Does nothing,
# quickly, when all are there.
# usage: install-deps.sh [build|check|real]   build: to build and mount; check (default): tests as well;
#   real: the programs of tests/real as well (Debian starts the servers among them, where a service manager runs)
set -eu

what=${1:-check}
packages="gcc libc6-dev make meson ninja-build pkg-config fuse3 libfuse3-dev libisal-dev
	librocksdb-dev libzstd-dev libjansson-dev libcmocka-dev uthash-dev"
tests="clang clang-format libclang-rt-dev acl attr bindfs python3 e2fsprogs xfsprogs btrfs-progs"
programs="git rsync postgresql borgbackup restic fio stress-ng dbench inotify-tools procmail liblockfile-bin mutt debootstrap
	samba samba-vfs-modules smbclient samba-testsuite nfs-ganesha nfs-ganesha-vfs libnfs-utils"
case $what in
build) ;;
check) packages="$packages $tests" ;;
real) packages="$packages $tests $programs" ;;
*)
	echo "usage: $0 [build|check|real]" >&2
	exit 2
	;;
esac

fail()
{
	echo "install-deps: $*" >&2
	exit 1
}

installed()
{
	dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

# The packages of the argument list that are not installed.
missing_of()
{
	# One call for all: a missing package only makes dpkg-query's exit code differ.
	have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
		sed -n 's/ installed$//p') || true
	for package in "$@"; do
		printf '%s\n' "$have" | grep -qxF "$package" || printf '%s ' "$package"
	done
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	fail "cannot install packages: this is not a Debian system; install by hand the equivalents" \
		"of: $(echo $packages) and BLAKE3 (libblake3, or its C sources in \$BLAKE3_DIR)"
fi

missing=$(missing_of $packages)
# BLAKE3: the library where there is one (Debian 13), else its C sources (Debian 12).
if [ -z "${BLAKE3_DIR:-}" ] && ! pkg-config --exists libblake3 2>/dev/null &&
	! installed librust-blake3-dev; then
	blake3=yes
else
	blake3=
fi
[ -n "$missing$blake3" ] || exit 0

if [ "$(id -u)" = 0 ]; then
	as_root=
elif sudo -n true 2>/dev/null; then
	as_root="sudo -n"
else
	fail "cannot install: ${missing}${blake3:+and BLAKE3} are missing, and this user is not root" \
		"(nor may it use sudo without a password); run 'tools/install-deps.sh' as root"
fi

available()
{
	apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [0-9]'
}

all_available()
{
	for package in $missing; do
		available "$package" || return 1
	done
	[ -z "$blake3" ] || available libblake3-dev || available librust-blake3-dev
}

update()
{
	echo "install-deps: reading the package lists (apt-get update)"
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update >/dev/null ||
		fail "cannot read the package lists: apt-get update failed; is there a network?"
}

install()
{
	$as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get -q -y --no-install-recommends install $missing
}

updated=
if ! all_available; then
	update
	updated=yes
	all_available || fail "cannot install: this system's package lists lack some of:" \
		"$missing${blake3:+libblake3-dev or librust-blake3-dev}"
fi
if [ -n "$blake3" ]; then
	if available libblake3-dev; then
		missing="$missing libblake3-dev"
	else
		missing="$missing librust-blake3-dev"
	fi
fi
echo "install-deps: installing $(echo $missing)"
if ! install; then
	# The lists may name versions that the mirror no longer has.
	[ -z "$updated" ] || fail "cannot install: apt-get failed, see above"
	update
	install || fail "cannot install: apt-get failed, see above; is there a network?"
fi
echo "install-deps: done"
