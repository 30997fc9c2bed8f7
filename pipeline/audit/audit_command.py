"""What the job does with its arguments: audit, compare, repair, report, print."""

import argparse
import datetime
import json

from pipeline.audit.compare import compare
from pipeline.audit.media.stream import DrawConfig
from pipeline.audit.own_checks import load_checks
from pipeline.audit.report.page import verdict, write_report
from pipeline.audit.run import ERRORS, Audit, AuditConfig, audit, read_lists
from pipeline.audit.waivers import read_waivers
from pipeline.dataset.store import open_store
from pipeline.engines.interfaces import SimilarityWindows


def run(arguments: argparse.Namespace) -> int:
    """Audit and report; with --fix also show or write the repair. Returns the exit code."""
    if arguments.models:
        return _audit_models(arguments)
    settings = settings_of(arguments)
    with audit(arguments.dataset, settings) as done:
        change = compare(done, arguments.compare) if arguments.compare else None
        write_report(done, arguments.report, change)
        show(done)
        print(f"report: {arguments.report / 'report.html'}")
        if arguments.fix:
            from pipeline.audit.fix import fix

            fix(done, arguments.tags, arguments.drop_warnings, arguments.yes, settings.workers)
        return done.exit_code(arguments.strict)


def _audit_models(arguments: argparse.Namespace) -> int:
    from pipeline.audit.models import check_models, print_models

    found = check_models(open_store(arguments.dataset), arguments.models)
    return ERRORS if print_models(found) else 0


def settings_of(arguments: argparse.Namespace) -> AuditConfig:
    """Read files and numbers. Raises ValueError that says which argument is wrong."""
    if arguments.sample is not None and arguments.sample < 1:
        raise ValueError(f"--sample must be at least 1, got {arguments.sample}; or use --no-media")
    if arguments.report.exists() and not arguments.report.is_dir():
        raise ValueError(f"--report must be a folder, got the file {arguments.report}")
    if arguments.workers is None or arguments.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {arguments.workers}")
    if (arguments.yes or arguments.tags or arguments.drop_warnings) and not arguments.fix:
        raise ValueError("--yes, --tags and --drop-warnings belong to --fix, which was not given")
    waivers = read_waivers(arguments.baseline) if arguments.baseline else []
    return AuditConfig(
        workers=arguments.workers,
        media=not arguments.no_media,
        draw=DrawConfig(arguments.sample, arguments.seed),
        lists=read_lists(arguments.opt_out, arguments.held_out, arguments.known_bad),
        windows=_windows(arguments.windows) if arguments.windows else None,
        waivers=tuple(waivers),
        today=datetime.date.today(),
        own_checks=load_checks(arguments.check),
    )


def _windows(text: str) -> SimilarityWindows:
    names = ("same_video", "cross_video", "reference_floor", "duplicate")
    try:
        values = json.loads(text)
        same, cross, floor, duplicate = (float(values[name]) for name in names)
        return SimilarityWindows(same, cross, floor, duplicate)
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"--windows must be a JSON object with {', '.join(names)}; got {text!r:.80}"
        ) from None


def show(done: Audit) -> None:
    """Print the verdict and one line per check that found something."""
    from rich.console import Console
    from rich.table import Table

    _, headline, text = verdict(done)
    counts, order = done.findings.counts(), ("error", "warning", "note")
    table = Table(title=f"{headline}. {text}", title_justify="left")
    for name in ("", "check", "what", "findings"):
        table.add_column(name, justify="right" if name == "findings" else "left", overflow="fold")
    hit = [check for check in done.findings.checks.values() if counts.get(check.id)]
    for check in sorted(hit, key=lambda check: (order.index(check.severity), check.id)):
        table.add_row(str(check.severity), check.id, check.title, f"{counts[check.id]:,}")
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table if hit else f"{headline}. {text}")
    media = done.media
    if media.checked:
        print(f"media: {media.checked} clips at {media.clips_per_s:.1f} clips/s")
