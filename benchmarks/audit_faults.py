"""Plant every fault into a clean dataset, audit it, and show what was found and what was not.

    python benchmarks/audit_faults.py DATASET [DATASET …] [--seeds 2] [--only NAME …]

DATASET is clean: one curated from real videos, or 'drawn' for one that is drawn on the spot. Each
fault is planted alone, into a copy whose manifest and counts fit again, and must be found by the
check named beside it. Printed per check: planted, found, findings on the clean datasets.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

from drawn_dataset import write_drawn_dataset  # noqa: E402
from faults import FAULTS, Copy, plant  # noqa: E402

from pipeline.audit.run import AuditConfig, audit, read_lists  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("datasets", nargs="+", help="clean datasets, or 'drawn'")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[], help="parts of the faults' names")
    given = parser.parse_args()
    names = [n for n in FAULTS if not given.only or any(part in n for part in given.only)]
    planted, found, clean = Counter(), Counter(), Counter()
    missed: list[str] = []
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for dataset in given.datasets:
            base = Path(folder) / "clean"
            shutil.rmtree(base, ignore_errors=True)
            if dataset == "drawn":
                write_drawn_dataset(base)
            else:
                shutil.copytree(dataset, base, ignore=shutil.ignore_patterns("units", "_lock"))
            alarms = findings_of(Copy(base, None), media=True)  # type: ignore[arg-type]
            clean.update(alarms)
            print(f"{dataset}: clean, findings {dict(alarms)}", flush=True)
            for seed in range(given.seeds):
                for name in names:
                    check = FAULTS[name].check
                    try:
                        hit = audit_planted(name, base, Path(folder) / "copy", seed)
                    except AssertionError as unfit:
                        print(f"  {name}: not planted, {unfit}")
                        continue
                    planted[check] += 1
                    found[check] += hit[check] > alarms[check]
                    if hit[check] <= alarms[check]:
                        missed.append(f"{dataset} {name} (seed {seed}), found only {dict(hit)}")
                        print(f"  MISSED {missed[-1]}", flush=True)
    show(planted, found, clean)
    print(
        f"{len(names)} kinds of faults, {time.process_time() - started:.0f} CPU s of this process"
    )
    return 1 if missed else 0


def audit_planted(name: str, clean: Path, target: Path, seed: int) -> Counter[str]:
    """Return the findings per check of a copy with one fault in it."""
    shutil.rmtree(target, ignore_errors=True)
    return findings_of(plant(name, clean, target, seed), FAULTS[name].media)


def findings_of(copy: Copy, media: bool) -> Counter[str]:
    """Audit a dataset and count its findings per check."""
    lists = {name: copy.extra.get(name, []) for name in ("opt_out", "held_out", "known_bad")}
    with audit(str(copy.folder), AuditConfig(media=media, lists=read_lists(**lists))) as done:
        return Counter(done.findings.counts())


def show(planted: Counter[str], found: Counter[str], clean: Counter[str]) -> None:
    """Print the table, and the sums."""
    print(f"\n{'check':34} {'planted':>8} {'found':>6} {'recall':>7} {'on clean':>9}")
    for check in sorted(planted):
        recall = found[check] / planted[check]
        print(f"{check:34} {planted[check]:8} {found[check]:6} {recall:7.0%} {clean[check]:9}")
    other = {check: number for check, number in clean.items() if check not in planted}
    total, hit = sum(planted.values()), sum(found.values())
    print(f"{'all':34} {total:8} {hit:6} {hit / max(1, total):7.0%} {sum(clean.values()):9}")
    print(f"findings on the clean datasets by checks without a fault: {other}")


if __name__ == "__main__":
    sys.exit(main())
