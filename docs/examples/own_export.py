"""An export of your own: each clip beside a text file with its caption."""

from pathlib import Path

from pipeline.export.export_source import ExportSource


class CaptionFiles:
    """Write SAMPLE.mp4 and SAMPLE.txt."""

    def write(self, source: ExportSource, folder: Path) -> None:
        for row in source.rows():
            (folder / f"{row['sample_id']}.mp4").write_bytes(row["video"]["bytes"])
            (folder / f"{row['sample_id']}.txt").write_text(row["caption"], encoding="utf-8")
