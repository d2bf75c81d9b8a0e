#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The manual and the README name the commands, options and exit codes that there are, and no others.
. "$(dirname "$0")/lib.sh"

dfs() { "$dynamicfs" "$@"; }
man=$(sed 's/\\f[A-Z]//g; s/\\-/-/g' "$repo"/docs/man/*.8)
commands=$(dfs help | sed -n 's/^  \([a-z-]*\)  .*/\1/p')
helps=$(for command in $commands; do dfs help "$command"; done)
options_of() { grep -oE -- '(^|[^a-z-])--[a-z][a-z-]+' <<<"$1" | grep -oE -- '--[a-z-]+' | sort -u; }

check "there are commands" test "$(wc -w <<<"$commands")" -ge 15
for command in $commands; do
	grep -qE "(^|[^a-z-])$command([^a-z-]|$)" <<<"$man" || not_ok "the manual has $command" "it has not"
	grep -q "\`$command\`" "$repo/README.md" || not_ok "the README has $command" "it has not"
	while read -r option; do
		dfs help "$command" | sed '/^options:/,$d' | grep -qF -- "$option" ||
			[[ $option =~ ^--(json|help|pool|rw|sloppy|no-mtab|type|options|limit|from-extent)$ ]] ||
			not_ok "usage of $command names $option" "it does not"
	done < <(options_of "$(dfs help "$command" | sed -n '/^options:/,$p')")
done
check "the manual has each option" test -z "$(comm -23 <(options_of "$helps") <(options_of "$man"))"
check "and no other" test -z "$(comm -13 <(options_of "$helps") <(options_of "$man"))"
check "nor has the README" test -z "$(comm -13 <(options_of "$helps") \
	<(options_of "$(grep -E 'dynamicfs |`--' "$repo/README.md")"))"

codes() { tr -s '\n ' ' ' <<<"$1" | grep -oE '0 done[,;] 1 failed[,;] .*6 refused without' | head -1 | tr ';' ','; }
check "exit codes of the README" test "$(codes "$(cat "$repo/README.md")")" = "$(codes "$(dfs help)")"

# ---- docs/POSIX.md claims only what a test that is there shows
posix=$(grep '^|' "$repo/docs/POSIX.md" | sed 's/ |$//; s/.*| //' | grep -o '`[^`]*`' | tr -d '`' | sort -u)
check "POSIX.md names tests" test "$(wc -w <<<"$posix")" -ge 40
for name in $posix; do
	case $name in
	tests/*) [ -e "$repo/$name" ] ;;
	*.sh) [ -e "$repo/tests/func/$name" ] ;;
	*) grep -q "^def $name()" "$repo"/tests/func/posix_*.py ;;
	esac || not_ok "POSIX.md's test $name" "there is none"
done
exit "$failed"
