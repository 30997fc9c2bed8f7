"""What became of all kills, over several calls of the benchmark."""

import json
import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Tally:
    """What happened.

    Attributes:
        kills: by "stage: kind".
        moments: of the kills, by "stage: moment".
        next_seed: of the next round.
        requests, failed: to the store.
        repeated_units: receipts of units and of latents that were written twice.
        repeated_steps: of a training, for each run that was killed.
        recovery_s: from the last kill to the end, by "stage: kind".
        undisturbed_s: by stage.
    """

    kills: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    next_seed: int = 0
    requests: int = 0
    failed: int = 0
    repeated_units: int = 0
    repeated_steps: list[int] = field(default_factory=list)
    recovery_s: dict[str, list[float]] = field(default_factory=dict)
    undisturbed_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None, seed: int) -> "Tally":
        """Return what earlier calls have counted, or nothing, with the first seed."""
        if path is None or not path.exists():
            return cls(next_seed=seed)
        stored = json.loads(path.read_text())
        counters = {name: Counter(stored[name]) for name in ("kills", "moments")}
        return cls(**{**stored, **counters})

    def write(self, path: Path) -> None:
        path.with_suffix(".tmp").write_text(json.dumps(vars(self), indent=1))
        path.with_suffix(".tmp").replace(path)

    def killed(self, stage: str, kind: str, moment: str) -> None:
        self.kills[f"{stage}: {kind}"] += 1
        self.moments[f"{stage}: {moment}"] += 1

    def recovered(self, stage: str, kind: str, took_s: float) -> None:
        self.recovery_s.setdefault(f"{stage}: {kind}", []).append(took_s)

    def report(self) -> str:
        lines = [
            f"{self.rounds} rounds, {self.kills.total()} kills ({_counted(self.kills)})",
            f"  when: {_counted(self.moments)}",
            f"  of {self.requests} requests failed {self.failed}",
            f"  units done twice {self.repeated_units}, steps of training done twice "
            f"{sum(self.repeated_steps)}, at most {max(self.repeated_steps, default=0)} a kill",
        ]
        for killed, times in sorted(self.recovery_s.items()):
            usual_s = self.undisturbed_s[killed.partition(":")[0]]
            lines.append(
                f"  {killed:25} undisturbed {usual_s:5.1f} s, from the last kill to the end "
                f"{statistics.median(times):5.1f} s (median), {max(times):5.1f} s (longest)"
            )
        return "\n".join(lines)


def _counted(numbers: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(numbers.items()))
