#!/bin/sh
# Fetches the modules that a folder's packages are built from, tests included, and tries again when the network fails:
# what comes after needs none.
#
#   fetch.sh FOLDER PACKAGES...
#
# GO is the go command, FETCH_TRIES how often it is tried, FETCH_WAIT after how many seconds it is tried again the first time.
set -u
cd "$1" || exit 1
shift
try=1
wait=${FETCH_WAIT:-2}
while ! said=$("${GO:-go}" list -deps -test "$@" 2>&1 >/dev/null); do
	if [ "$try" -ge "${FETCH_TRIES:-5}" ]; then
		printf '%s\nmodules could not be fetched in %s tries\n' "$said" "$try" >&2
		exit 1
	fi
	printf '%s\nmodules could not be fetched, trying again in %s s\n' "$said" "$wait" >&2
	sleep "$wait"
	try=$((try + 1))
	wait=$((wait * 2))
done
