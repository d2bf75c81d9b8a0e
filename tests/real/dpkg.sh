#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Debian in a directory of the mount: debootstrap from the mirror that apt uses (skipped without a network), dpkg in a chroot
# there, kill -9 of the daemon while it unpacks; and the packages of apt's cache unpacked, compared.
. "$(dirname "$0")/_lib.sh"

root=$mnt/root

mirror() { apt-get indextargets --format '$(SITE) $(RELEASE)' 2>/dev/null | awk -v release="$release" '$2 == release { print $1; exit }'; }
in_root() { LC_ALL=C DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }
verified() { in_root dpkg --verify && [ -z "$(in_root dpkg --audit)" ]; }

# At most so many MiB of apt's cache.
packages() { find /var/cache/apt/archives "$work/debs" -name '*.deb' -printf '%s %p\n' 2>/dev/null | sort -k 2 | awk -v most=$((60 * more * 1048576)) '(sum += $1) < most { print $2 }'; }

unpacked()
{
	local deb

	mkdir "$mnt/x" "$work/x"
	for deb in $(packages); do
		dpkg-deb -x "$deb" "$mnt/x" && dpkg-deb -x "$deb" "$work/x" || return 1
	done
	diff -r --no-dereference "$work/x" "$mnt/x"
}

bootstrap() { timeout 400 debootstrap --variant=minbase "$release" "$root" "$site" >"$work/debootstrap" 2>&1 || { tail -n 5 "$work/debootstrap"; return 1; }; }
download() { mkdir "$work/debs" && chmod 777 "$work/debs" && cd "$work/debs" && timeout 60 apt-get -q download hello bsdutils coreutils dash findutils grep sed; }
# shellcheck disable=SC2046 # names without blanks
unpack_some() { cp "$work"/debs/*.deb "$root/" && in_root dpkg --force-confnew -i $(find "$work/debs" -name '*.deb' -printf '/%f\n'); }
remove() { in_root dpkg --purge hello && in_root dpkg --verify && unpack_some && verified; }

killed()
{
	local dpkg

	(while unpack_some; do :; done) >"$work/dpkg" 2>&1 &
	dpkg=$!
	sleep 2.$((RANDOM % 10))
	crash -o dev,suid || return
	wait "$dpkg"
	in_root dpkg --configure -a
	unpack_some && verified
}

need dpkg dpkg-deb
pool_for dpkg -o dev,suid
if [ "$(packages | wc -l)" -gt 0 ]; then
	check "dpkg-deb -x: packages of apt's cache" unpacked
else
	skip "dpkg-deb -x" "apt's cache is empty"
fi
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
site=$(mirror)
if ! command -v debootstrap >/dev/null; then
	skip debootstrap "it is not installed"
elif [ -z "$site" ] || ! (download) >/dev/null 2>&1; then
	skip debootstrap "no package could be downloaded"
elif check "debootstrap" bootstrap; then
	check "dpkg --verify" verified
	check "dpkg -i in the chroot" unpack_some
	check "dpkg --purge and -i" remove
	[ -n "${REAL_PLAIN:-}" ] || check "kill -9 of the daemon while dpkg unpacks" killed
	stop && start -o dev,suid
	check "dpkg --verify after a remount" verified
fi
finish
