#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Make folders with other versions of Wireshark in them: `roots.sh [FOLDER [SUITE...]]`.
#
# Each is a small Debian root: trixie has Wireshark 4.4, sid has 4.6. A root that is ready is left as it is; remove its
# folder to have it made anew. MIRROR=URL takes the place of the mirror that apt is configured with. All mounts are in
# a mount namespace that ends with this script, however it ends: outside nothing is ever mounted.
set -eu

say() { echo "roots.sh: $*"; }
fail() { say "$*" >&2; exit 1; }

if [ -z "${XENDISSECT_ROOTS_INSIDE-}" ]; then
    [ "$(id -u)" = 0 ] || fail "only root can make roots (debootstrap, mount): sudo $0 $*"
    command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
    unshare --mount true 2>/dev/null || fail "mounting is not allowed here (a container without CAP_SYS_ADMIN?)"
    XENDISSECT_ROOTS_INSIDE=1 exec unshare --mount --propagation private "$0" "$@"
fi

folder=${1:-/var/tmp/xendissect-roots}
[ $# = 0 ] || shift
[ $# != 0 ] || set -- trixie sid

configured() {
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        sed -n '/-security/d; s/^Debian //p' | head -n 1
}
mirror=${MIRROR:-$(configured)}
mirror=${mirror:-http://deb.debian.org/debian/}

tshark() { chroot "$1" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/nonexistent tshark --version 2>/dev/null | head -n 1; }

quietly() {
    "$@" >"$log" 2>&1 </dev/null || { tail -n 20 "$log" >&2; fail "this failed (all output is in $log): $*"; }
}

build() {
    suite=$1 new=$folder/$1.unfinished log=$folder/$1.log
    rm -rf --one-file-system "$new"

    say "$suite: debootstrap from $mirror"
    quietly debootstrap --variant=minbase "$suite" "$new" "$mirror"

    say "$suite: install tshark"
    mountpoint -q "$new/proc" || mount -t proc proc "$new/proc"
    mount --rbind /dev "$new/dev"
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C HOME=/root
    quietly chroot "$new" apt-get -o Acquire::Check-Valid-Until=false -q update
    quietly chroot "$new" apt-get -q -y --no-install-recommends install tshark
    quietly chroot "$new" apt-get clean
    umount "$new/proc"
    umount -R "$new/dev"

    mv "$new" "$folder/$suite"
    rm -f "$log"
}

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
for suite; do
    if [ -x "$folder/$suite/usr/bin/tshark" ]; then
        ready="was there already"
    else
        build "$suite"
        ready="made"
    fi
    version=$(tshark "$folder/$suite") || true
    [ -n "$version" ] || fail "$suite: tshark does not run; remove $folder/$suite and try again"
    say "$suite: $ready, $version in $folder/$suite"
done
