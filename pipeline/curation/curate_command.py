"""The command that curates: prints the plan and the funnel, returns the exit code."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pipeline.curation.curate import CurationResult, curate
from pipeline.curation.curation_config import CurationConfig
from pipeline.curation.plan import make_plan
from pipeline.curation.plan import restart as empty
from pipeline.curation.release import funnel_row
from pipeline.curation.shared import check_shared
from pipeline.dataset.correction_states import State, standings
from pipeline.dataset.corrections import read_corrections
from pipeline.dataset.inputs import FoundInputs, InputVideo
from pipeline.dataset.losses import losses_of, sentences
from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, light_rows
from pipeline.dataset.vacuum import find_leftovers
from pipeline.engines.people.library_trackers import load_tracker
from pipeline.engines.registry import engine_infos
from pipeline.execution.cluster import describe_workers
from pipeline.execution.progress import print_funnel, print_repeated
from pipeline.observing.observe import load_stages
from pipeline.pairing.gates import load_gates
from pipeline.pairing.own_columns import load_columns
from schemas.manifest import Manifest
from schemas.reasons import Split

DONE, NOTHING_KEPT, TOO_MANY_FAILED, NOT_READ = 0, 1, 3, 3
_NAMED = 5  # inputs that are named on the terminal


def show_plan(videos: Sequence[InputVideo], store: Store, config: CurationConfig) -> int:
    """Print what a run would do and with what; changes nothing."""
    plan = make_plan(videos, store, config)
    size_mib = sum(max(video.size_bytes, 0) for video in plan.pending) / 2**20
    print(f"{len(videos)} videos, {len(plan.pending)} of them to observe ({size_mib:.1f} MiB)")
    if plan.finished:
        print(f"{store.url} is up to date: version {plan.manifest and plan.manifest.version}")
    licences = Counter(video.licence for video in videos)
    print("licences: " + ", ".join(f"{name} ({n})" for name, n in sorted(licences.items())))
    _print_engines(config)
    print(f"workers: {describe_workers(config.run.cluster)}")
    print(f"output: {store.url}")
    return DONE


def _print_engines(config: CurationConfig) -> None:
    """Load every engine once, here, so that one that is missing stops the run before it starts.

    The same for the tracker, and for gates, stages and columns of the user's own.
    """
    load_tracker(config.observe.tracks.tracker)
    load_stages(config.observe.stages)
    load_gates(config.pair.gates)
    load_columns(config.pair.columns)
    print("engines:")
    for info in engine_infos(config.engines.chosen):
        use = "commercial use allowed" if info.commercial else "NO commercial use"
        print(f"  {info.task:17} {info.id:24} {info.licence} ({use})", flush=True)


def run(
    videos: Sequence[InputVideo],
    store: Store,
    config: CurationConfig,
    *,
    retry_failed: bool = False,
    replace_inputs: bool = False,
    restart: bool = False,
) -> int:
    """Curate under the output's lock, print the funnel, return the exit code."""
    with store.lock():
        if restart:
            empty(store)
        plan = make_plan(videos, store, config, retry_failed, replace_inputs)
        if not plan.finished:
            _print_engines(config)
            check_shared(videos, store, config)
        outcome = curate(videos, store, config, plan)
    return _report(outcome, store, config)


def _report(outcome: CurationResult, store: Store, config: CurationConfig) -> int:
    manifest = outcome.manifest
    assert manifest is not None, "a run that returns has published or found a version"
    if not outcome.changed and not outcome.unread:
        print(f"{store.url} is up to date (version {manifest.version}): nothing to do")
    print_funnel(manifest.funnel)
    print_repeated()
    samples = sum(manifest.splits.values())
    parts = [part for part in Split if part in manifest.splits]
    splits = ", ".join(f"{manifest.splits[part]} {part}" for part in parts)
    print(f"{samples} samples ({splits}) in {store.url}, version {manifest.version}")
    _print_older(manifest, store)
    print("\n".join(sentences(losses_of(manifest, store))))
    _print_refused(manifest, store)
    _print_corrections(manifest, store)
    _print_unread(outcome.unread)
    unread = sum(row["outcome"] == "not_read" for row in _outcomes(manifest, store))
    failed = sum(row.failed for row in manifest.funnel) - unread
    probed = funnel_row(manifest, "probe", "video")
    share = failed / probed.entered if probed and probed.entered else 0.0
    if failed:
        print(f"{failed} videos failed; see rejects/ and run with --retry-failed to look again")
    if share > config.run.max_failed:
        print(
            f"{share:.0%} of the videos failed, run.max_failed allows {config.run.max_failed:.0%}"
        )
        return TOO_MANY_FAILED
    if samples == 0:
        print("nothing was kept: the table above says where everything went")
        return NOTHING_KEPT
    return NOT_READ if outcome.unread else DONE


def _print_older(manifest: Manifest, store: Store) -> None:
    if manifest.version == 1:
        return
    size_bytes = sum(each.size_bytes for each in find_leftovers(store))
    if size_bytes:
        print(
            f"older versions hold {size_bytes / 2**20:.1f} MiB more; contextanyone vacuum "
            f"{store.url} removes them"
        )


def _outcomes(manifest: Manifest, store: Store) -> Iterator[dict]:
    columns = ("uri", "outcome", "reason", "detail")
    for path in files_of("inputs", manifest):
        yield from light_rows(path, columns, store)


def _print_refused(manifest: Manifest, store: Store) -> None:
    """Name the first inputs that are not in the dataset; the table `inputs/` has them all."""
    lost = [row for row in _outcomes(manifest, store) if row["outcome"] in ("refused", "failed")]
    for row in lost[:_NAMED]:
        detail = f": {row['detail']}" if row["detail"] else ""
        print(f"  {row['outcome']} {row['uri']} ({row['reason']}{detail})")
    if len(lost) > _NAMED:
        print(f"  and {len(lost) - _NAMED} more: see inputs/")


def _print_corrections(manifest: Manifest, store: Store) -> None:
    """Say how many corrections are obeyed, and name those that are not."""
    found = standings(read_corrections(store), manifest, store)
    if not found:
        return
    others = [each for each in found if each.state != State.HOLDS]
    print(f"{len(found) - len(others)} of {len(found)} corrections are obeyed")
    words = {State.WAITS: "cannot be obeyed", State.REPLACED: "replaced", State.LOST: "lost"}
    for each in others[:_NAMED]:
        made = each.correction
        print(f"  {words[each.state]}: {made.kind} by {made.by}, {made.at}: {each.detail}")
    if len(others) > _NAMED:
        print(f"  and {len(others) - _NAMED} more: see jobs/browse.py, #/corrections")


def _print_unread(unread: Mapping[str, str]) -> None:
    if not unread:
        return
    are = "video" if len(unread) == 1 else "videos"
    print(f"{len(unread)} {are} could not be read: run again")
    for uri, detail in sorted(unread.items())[:_NAMED]:
        print(f"  {uri}: {detail}")
    if len(unread) > _NAMED:
        print(f"  and {len(unread) - _NAMED} more")


def print_passed_over(found: FoundInputs) -> None:
    """Print which files beside the inputs are passed over."""
    if found.passed_over:
        names = ", ".join(found.passed_over[:_NAMED])
        more = f", and {len(found.passed_over) - _NAMED} more" * (len(found.passed_over) > _NAMED)
        print(f"{len(found.passed_over)} files are not taken, by their suffix: {names}{more}")
    for folder in found.closed:
        print(f"a folder cannot be searched: {folder}")
