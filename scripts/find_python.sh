#!/usr/bin/env bash
# Prints a Python of the version given (3.12, say) that really runs: from PATH, or from pyenv.
set -uo pipefail

version=$1
candidates=("python$version" "python3")
if command -v pyenv >/dev/null; then
    candidates+=("$(pyenv root)/versions/$version".*/bin/python)
fi
for candidate in "${candidates[@]}"; do
    # A pyenv shim is on PATH for versions that are not switched on, and fails when it is run.
    found=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
    if [[ $found == "$version" ]]; then
        command -v "$candidate"
        exit 0
    fi
done
echo "No Python $version is here: install one, as python$version on PATH or with pyenv." >&2
exit 1
