"""What `ray job submit --working-dir .` sends is the program."""

import re
import zipfile

from places import ROOT
from ray._private.runtime_env.packaging import create_package


def commands_of(page: str) -> list[str]:
    """Return the lines of a page that are a command, without remarks."""
    commands = r"^    (?:python|make|contextanyone) .*\n"
    return [line.split("#")[0] for line in re.findall(commands, page, re.MULTILINE)]


def test_a_submitted_job_carries_the_program_and_no_datasets(tmp_path):
    """By the names that README.md gives: Ray takes 100 MiB."""
    sent = ["jobs/curate.py", "pipeline/dataset/store.py", "tests/helpers/runs.py"]
    readme = (ROOT / "README.md").read_text()
    data = set(re.findall(r"[ =]([a-z]\w*)/\w*(?=[ )\n])", "".join(commands_of(readme))))
    assert {"videos", "dataset", "model", "runs", "evaluation", "results"} <= data
    checkout = tmp_path / "checkout"
    for name in [*sent, *(f"{folder}/large.mp4" for folder in data)]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes(b"1")
    for name in (".gitignore", ".rayignore"):
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    create_package(str(checkout), tmp_path / "sent.zip", include_gitignore=True)
    with zipfile.ZipFile(tmp_path / "sent.zip") as package:
        files = {name for name in package.namelist() if not name.endswith("/")}
    assert files == {*sent, ".gitignore", ".rayignore"}
