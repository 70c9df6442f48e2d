#!/bin/sh
# Fetches the modules that a folder's packages are built from, tests included, and tries again when the network fails:
# what comes after needs none. The go command ends at the first request that fails, and keeps what came before it: so a
# network that fails now and then needs many tries, and only those count that brought nothing new.
#
#   fetch.sh FOLDER PACKAGES...
#
# GO is the go command, FETCH_TRIES how often in a row it is tried in vain, FETCH_WAIT after how many seconds it is tried again
# after one that brought something; the wait doubles with each in vain.
set -u
cd "$1" || exit 1
shift
go=${GO:-go}
cache=$($go env GOMODCACHE)/cache/download

# How many files of modules are in the cache.
fetched() {
	find "$cache" -type f \( -name '*.mod' -o -name '*.zip' \) 2>/dev/null | wc -l
}

first=${FETCH_WAIT:-2}
wait=$first
try=1
before=$(fetched)
while ! said=$($go list -deps -test "$@" 2>&1 >/dev/null); do
	after=$(fetched)
	if [ "$after" -gt "$before" ]; then
		before=$after
		try=1
		wait=$first
	elif [ "$try" -ge "${FETCH_TRIES:-5}" ]; then
		printf '%s\nmodules could not be fetched in %s tries\n' "$said" "$try" >&2
		exit 1
	else
		try=$((try + 1))
	fi
	printf '%s\nmodules could not be fetched, trying again in %s s\n' "$said" "$wait" >&2
	sleep "$wait"
	wait=$((wait * 2))
done
