#!/bin/sh
# The whole suite in three parts side by side, each printed when it has ended: what
# needs no browser, on SQLite; what uses a database, on PostgreSQL; and browsers and
# kills, which wait more than they work. Fails when one of them fails.
set -u
python=$1
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
waiting="tests/browser tests/checks tests/chaos"

PLACET_TEST_ON=postgresql "$python" -m pytest > "$parts/postgresql" 2>&1 &
postgresql=$!
# Kept in words: these are folders' names.
# shellcheck disable=SC2086
"$python" -m pytest $waiting > "$parts/waiting" 2>&1 &
browsers=$!
# shellcheck disable=SC2046
"$python" -m pytest $(printf -- '--ignore=%s ' $waiting)
first=$?
wait "$browsers"
second=$?
wait "$postgresql"
third=$?

printf '\nBrowsers and kills:\n'
cat "$parts/waiting"
printf '\nOn PostgreSQL:\n'
cat "$parts/postgresql"
[ "$first" -eq 0 ] && [ "$second" -eq 0 ] && [ "$third" -eq 0 ]
