#!/usr/bin/env bash
# Makes sure that there is a Chromium, and fonts for what the pages write: Latin, and Chinese.
set -euo pipefail

has_browser() {
    [[ -n ${CHROMIUM:-} ]] || command -v chromium chromium-browser google-chrome >/dev/null
}

has_browser && exit
if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    echo "Installing Chromium"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq --yes --no-install-recommends chromium fonts-inter fonts-noto-cjk >/dev/null
fi
has_browser || {
    echo "These tests need Chromium: install your system's package (Debian: chromium), or set CHROMIUM to its path." >&2
    exit 1
}
