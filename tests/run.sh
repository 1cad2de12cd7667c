#!/bin/sh
# The whole suite on SQLite and, beside it, what uses a database on PostgreSQL.
# Prints both; fails when one of them fails.
set -u
python=$1
second=$(mktemp)
trap 'rm -f "$second"' EXIT

PLACET_TEST_ON=postgresql "$python" -m pytest > "$second" 2>&1 &
beside=$!
"$python" -m pytest
first=$?
wait "$beside"
other=$?

echo
echo "On PostgreSQL:"
cat "$second"
[ "$first" -eq 0 ] && [ "$other" -eq 0 ]
