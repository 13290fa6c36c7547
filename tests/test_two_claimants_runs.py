"""Two drivers on one store at the same time: the work is shared and nothing is done twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tiny import build_data, write_profile

from camsweep.sweeps.results import load_trials
from camsweep.sweeps.store import Store

SWEEP = "title: x\nbase: {method: cam}\naxes: {lr: [0.02, 0.03]}\nseeds: 2\n"
#: Runs `camsweep` and leaves a file for every trial and stage that this process really ran.
DRIVER = """
import sys
from pathlib import Path
import camsweep.sweeps.results as results
did, argv = Path(sys.argv[1]), sys.argv[2:]
plain = results.write_trial
def write_trial(store, trial_id, tables):
    (did / f"{trial_id}.{len(list(did.glob(trial_id + '*')))}").touch()
    plain(store, trial_id, tables)
results.write_trial = write_trial
from camsweep.platform.cli.main import main
sys.exit(main(argv))
"""


def test_two_drivers_share_the_work(tmp_path: Path) -> None:
    build_data(tmp_path, 16, 4)
    profile = str(write_profile(tmp_path, epochs=1))
    did = [tmp_path / "first", tmp_path / "second"]
    drivers = []
    for number, folder in enumerate(did):
        folder.mkdir()
        # The same trials under other names: both must stand in the rows in the end.
        sweep = tmp_path / f"sweep{number}.yaml"
        sweep.write_text(SWEEP)
        argv = ["run", str(sweep), "--profile", profile, "--data", str(tmp_path / "data")]
        argv += ["--store", str(tmp_path / "store"), "--in-process"]
        drivers.append(
            subprocess.Popen(
                [sys.executable, "-c", DRIVER, str(folder), *argv],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        for driver in drivers:
            said, _ = driver.communicate(timeout=120)
            assert driver.returncode == 0, said
    finally:
        for driver in drivers:
            driver.kill()
    ran = [path.name for folder in did for path in folder.iterdir()]
    assert len(ran) == 4, "a trial ran twice"
    store = Store(str(tmp_path / "store"))
    trials = load_trials(store).to_pylist()
    assert {f"{row['id']}.0" for row in trials} == set(ran)
    assert {row["status"] for row in trials} == {"done"}
    for row in trials:
        assert set(row["sweeps"]) == {"sweep0", "sweep1"}, "the uses of one driver were forgotten"
    assert list(Path(store.path("leases")).iterdir()) == []
    assert len(store.names("runs")) == 2
    assert list((tmp_path / "store").rglob(".tmp-*")) == []
