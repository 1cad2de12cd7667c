#!/bin/sh
# The whole suite in four parts side by side, each printed when it has ended: the
# engine, which needs no database; what uses one, on SQLite and on PostgreSQL; and
# browsers and kills, which wait more than they work. Fails when one of them fails.
set -u
python=$1
told=$(mktemp -d)
trap 'rm -rf "$told"' EXIT
engine="tests/engine tests/differential tests/test_docs.py"
waiting="tests/browser tests/checks tests/chaos"

# Both lists are kept in words: they are names of files.
# shellcheck disable=SC2086,SC2046
part() {
	case $1 in
	"the engine") "$python" -m pytest $engine ;;
	"browsers and kills") "$python" -m pytest $waiting ;;
	"on PostgreSQL") PLACET_TEST_ON=postgresql "$python" -m pytest ;;
	"on SQLite")
		"$python" -m pytest $(printf -- '--ignore=%s ' $engine $waiting)
		;;
	esac
}

failed=0
set -- "the engine" "browsers and kills" "on PostgreSQL" "on SQLite"
for name; do
	part "$name" > "$told/$name" 2>&1 &
	eval "pid_$((number = ${number:-0} + 1))=$!"
done
number=0
for name; do
	eval "wait \"\$pid_$((number = number + 1))\"" || failed=1
	printf '\nThe tests, %s:\n' "$name"
	cat "$told/$name"
done
exit "$failed"
