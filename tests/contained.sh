#!/usr/bin/env bash
# The part of container.sh that runs in namespaces of its own, which take everything with them at the end.
set -euo pipefail

ip link set lo up
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$scratch/data" "$root/data"
mount -o remount,bind,ro "$root"
mapfile -t environment <"$scratch/env"
mapfile -t serve <"$scratch/cmd"
mapfile -t health <"$scratch/health"

inside=(chroot "$root" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs
    --bounding-set=-all --inh-caps=-all env -i "${environment[@]}"
    sh -c 'cd /srv/tracker && exec "$@"' -)
fail() {
    echo "FAILED: $*" >&2
    cat "$scratch/log" >&2 || true
    exit 1
}
passed() { echo "ok: $*"; }

! "${inside[@]}" touch /srv/tracker/x 2>/dev/null || fail "it can change its own program"
"${inside[@]}" touch /tmp/x || fail "it has no /tmp"
[ "$("${inside[@]}" id -u):$("${inside[@]}" id -g)" = 10001:10001 ] || fail "it runs as another user"

"${inside[@]}" "${serve[@]}" >"$scratch/log" 2>&1 &
server=$!
for _ in $(seq 100); do
    kill -0 "$server" 2>/dev/null || fail "the server ended"
    if "${inside[@]}" "${health[@]}" 2>/dev/null; then break; fi
    sleep 0.2
done
"${inside[@]}" "${health[@]}" || fail "it is not healthy"
passed "on a read-only root, without capabilities, it becomes healthy by its own check"

key=$("${inside[@]}" python -m app keys create tester --scope contribute | tail -n 1)
"${inside[@]}" python - "$key" <<'PYTHON' || fail "it takes no write"
import json, sys
from urllib.request import Request, urlopen

address = "http://127.0.0.1:8000/v1/positions"
body = {"country": "PL", "kind": "troops", "firmness": "planned", "stated_on": "2025-03-27", "summary": "A test.",
        "authority": "head_of_government", "source": {"url": "https://example.org/a", "title": "A"}}
headers = {"Authorization": f"Bearer {sys.argv[1]}", "Content-Type": "application/json"}
assert urlopen(Request(address, json.dumps(body).encode(), headers)).status == 201
assert [each["country"] for each in json.load(urlopen(address + "?country=PL"))["items"]] == ["PL"]
PYTHON
passed "it reads and writes"
"${inside[@]}" python -m app backup /data/backup.db >/dev/null 2>&1 || fail "no backup"
passed "it is backed up while it serves"

kill -TERM "$server"
wait "$server" && code=0 || code=$?
[ "$code" = 0 ] || fail "it ended with $code"
[ ! -e "$scratch/data/tracker.db-wal" ] || fail "its log was not folded into the file"
"${inside[@]}" python -m app verify >/dev/null 2>&1 || fail "the record is not sound"
passed "SIGTERM ends it with 0, the record in one file and sound"
