#!/usr/bin/env bash
# Builds the image and uses it as hardened as compose.yaml does: root file system read-only, no
# capabilities, a user of its own. Needs Linux, root, buildah, iproute2 and util-linux; no engine.
#
#   tests/container.sh [BASE]        BASE is the image to build on, by default python:3.13-slim
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
base=${1:-${BASE:-python:3.13-slim}}

for tool in buildah unshare ip setpriv; do
    if ! command -v "$tool" >/dev/null; then
        printf '\n****  SKIPPED: there is no %s here. The image was NOT built and NOT tested.  ****\n\n' "$tool" >&2
        exit 0
    fi
done
if [ "$(id -u)" != 0 ]; then
    printf '\n****  SKIPPED: this needs root. The image was NOT built and NOT tested.  ****\n\n' >&2
    exit 0
fi

scratch=$(mktemp -d)
image=coalition-tracker-test:$$
container=
finish() {
    [ -z "$container" ] || { buildah umount "$container" && buildah rm "$container"; } >/dev/null
    buildah rmi "$image" >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap finish EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}
passed() { echo "ok: $*"; }
configured() { buildah inspect --type image --format "{{$1}}" "$image"; }

buildah bud --isolation chroot --format docker --build-arg BASE="$base" --tag "$image" . >"$scratch/build" 2>&1 ||
    { tail -n 30 "$scratch/build" >&2; fail "the build on $base"; }
passed "it builds on $base"

[ "$(configured .Docker.Config.User)" = 10001:10001 ] || fail "the user"
[ "$(configured .Docker.Config.StopSignal)" = SIGTERM ] || fail "the stop signal"
configured .Docker.Config.Volumes | grep -q /data || fail "the volume"
configured .Docker.Config.Healthcheck.Test | grep -q readyz || fail "the health check"
passed "it says who it runs as, what it keeps and how to ask for its health"

container=$(buildah from --pull-never "$image")
root=$(buildah mount "$container")
installed=$(du -sm "$root/opt/venv" "$root/srv/tracker" | awk '{sum += $1} END {print sum}')
[ "$installed" -lt 120 ] || fail "$installed MB on top of the base"
[ -z "$(find "$root/opt/venv/lib" -maxdepth 3 -name pip)" ] || fail "pip is in it"
[ ! -e "$root/srv/tracker/tests" ] && [ ! -e "$root/srv/tracker/.git" ] || fail "files that nobody runs are in it"
passed "it adds $installed MB to the base, and no pip, tests or history"

# As the user would, in a new volume: the owner of /data in the image is that of a volume's root.
install -d -o "$(stat -c %u "$root/data")" -g "$(stat -c %g "$root/data")" "$scratch/data"
buildah inspect --type image --format '{{range .Docker.Config.Healthcheck.Test}}{{.}}{{"\n"}}{{end}}' "$image" |
    tail -n +2 >"$scratch/health"
buildah inspect --type image --format '{{range .Docker.Config.Env}}{{.}}{{"\n"}}{{end}}' "$image" >"$scratch/env"
buildah inspect --type image --format '{{range .Docker.Config.Cmd}}{{.}}{{"\n"}}{{end}}' "$image" >"$scratch/cmd"
export root scratch
unshare --mount --net --pid --fork --kill-child --mount-proc bash tests/contained.sh ||
    fail "what is told above"
passed "the image can be used"
