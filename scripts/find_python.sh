#!/usr/bin/env bash
# Prints the path of a Python of the given version (such as 3.12) that really runs. It looks in PATH and in pyenv.
set -uo pipefail

version=$1
candidates=("python$version" "python3")
if command -v pyenv >/dev/null; then
    candidates+=("$(pyenv root)/versions/$version".*/bin/python)
fi
for candidate in "${candidates[@]}"; do
    # PATH has a pyenv shim even for a version that is not active; that shim fails when it runs.
    found=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
    if [[ $found == "$version" ]]; then
        command -v "$candidate"
        exit 0
    fi
done
echo "Python $version was not found. Install it as python$version on PATH, or with pyenv." >&2
exit 1
