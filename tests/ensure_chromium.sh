#!/bin/sh
# Sees to it that there is a Chromium for the browser tests: an installed one, else
# through apt-get where this user may install.
set -u

works() {
    for name in chromium chromium-browser google-chrome; do
        # Ubuntu's chromium-browser may be a stub that only asks for a snap.
        "$name" --version >/dev/null 2>&1 && return
    done
    return 1
}

install() {
    as_root=""
    [ "$(id -u)" -eq 0 ] || as_root="sudo -n"
    command -v apt-get >/dev/null && $as_root true 2>/dev/null || return
    echo "Installing Chromium for the browser tests."
    $as_root apt-get update --quiet --quiet &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes \
            --quiet --quiet --no-install-recommends chromium
}

works && exit
install
works && exit
echo "The browser tests need Chromium, and it could not be installed from here." >&2
echo "Install one as chromium, chromium-browser or google-chrome on the PATH, as" >&2
echo "with: apt-get install chromium" >&2
exit 1
