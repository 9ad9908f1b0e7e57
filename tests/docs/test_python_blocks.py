"""Every Python block of the documentation runs as it stands: a DAG to its end, a test by pytest, the rest by itself."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from documentation import DOCS, PYTHON, Block, blocks, blocks_of

from airflow_wan.operators.wan import WanSubmitVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow.sdk import DAG

    from airflow_wan.emulator.testing import RunningEmulator

BLOCKS = blocks(PYTHON)
IS_TEST = re.compile(r"^def test_", re.MULTILINE)
IS_DAG = re.compile(r"\bDAG\(|@dag\b")


def those(kind: str) -> list[Block]:
    def kind_of(block: Block) -> str:
        return "test" if IS_TEST.search(block.code) else "DAG" if IS_DAG.search(block.code) else "code"

    return [block for block in BLOCKS if kind_of(block) == kind]


@pytest.fixture
def saved(
    tmp_path: Path, make_media: Callable[[str, Path], None], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Return a function that writes a block to a file of an empty folder, and makes the media that it names."""
    folder = tmp_path / "reader"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))

    def save(block: Block, name: str = "block.py") -> Path:
        make_media(block.code, folder)
        path = folder / name
        path.write_text(block.code)
        return path

    return save


@pytest.mark.parametrize("block", those("DAG"), ids=str)
def test_a_dag_is_parsed_and_runs_and_each_video_is_bought_once(
    block: Block,
    saved: Callable[[Block], Path],
    connections: None,
    run_dag: Callable[..., Any],
    wan_emulator: RunningEmulator,
    wan_api_key: str,
    count: Callable[..., None],
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(saved(block)))

    assert bag.import_errors == {}
    assert bag.dags
    if "not run" in block.marks:
        return
    creates = 0
    for dag in bag.dags.values():
        conf = {name: order_elsewhere(wan_emulator, wan_api_key) for name in dag.params if name == "wan_task_id"}
        elsewhere = {row["task_id"] for row in wan_emulator.ledger()} if conf else set()
        before = len(wan_emulator.ledger())
        run = run_dag(dag, **conf)
        bought = [row for row in wan_emulator.ledger()[before:] if row["task_id"] not in elsewhere]
        assert run.state == "success", run.errors
        assert len(bought) == sum(buys(dag, task_id) for task_id in run.task_ids)
        assert all(row["billed"] for row in bought)
        creates += len(bought)
    count(Python_blocks=1, DAGs=len(bag.dags), creates_of_DAGs=creates)


def buys(dag: DAG, task_id: str) -> bool:
    task = dag.get_task(task_id)
    return issubclass(getattr(task, "operator_class", type(task)), WanSubmitVideoOperator)


def order_elsewhere(emulator: RunningEmulator, key: str) -> str:
    """Return the id of a Wan task that was ordered by another program."""
    answer = httpx.post(
        f"{emulator.base_url}/wan/api/v1/services/aigc/video-generation/video-synthesis",
        headers={"Authorization": f"Bearer {key}", "X-DashScope-Async": "enable"},
        json={"model": "wan2.7-t2v", "input": {"prompt": "A boat."}, "parameters": {"duration": 2}},
    )
    (wan_task_id,) = re.findall(r'"task_id": ?"([^"]+)"', answer.raise_for_status().text)
    return wan_task_id


@pytest.mark.parametrize("block", those("code"), ids=str)
def test_other_code_runs(
    block: Block, saved: Callable[[Block], Path], connections: None, airflow_db: Path, count: Callable[..., None]
) -> None:
    path = saved(block)

    if "not run" in block.marks:
        compile(block.code, str(block), "exec")
        return
    runpy.run_path(str(path))
    count(Python_blocks=1)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("block", those("test"), ids=str)
def test_a_test_passes_beside_the_dag_of_the_quickstart(
    block: Block,
    saved: Callable[[Block, str], Path],
    copy_database: Callable[[Path], None],
    count: Callable[..., None],
) -> None:
    path = saved(block, "test_block.py")
    home = path.parent / "airflow"
    (home / "dags").mkdir(parents=True)
    (quickstart,) = [one for one in blocks_of(DOCS / "quickstart.md") if "file" in one.marks]
    (home / "dags" / quickstart.marks["file"].rpartition("/")[2]).write_text(quickstart.code)
    copy_database(home / "airflow.db")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "COV", "PYTEST"))}
    environment = ours | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join([*filter(None, [ours.get("PYTHONPATH")]), str(home / "dags")]),
    }

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", path.parent, path],
        env=environment,
        cwd=path.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    count(Python_blocks=1)
