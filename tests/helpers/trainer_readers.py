"""Read an export as its trainer's documentation says, and refuse what the trainer would refuse.

One reader a format, written from the pages named at each, for tests: none needs the trainer.
Every reader returns {sample id: (clip, prompt, references)} with paths of files that were opened.
"""

import csv
import json
import tomllib
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq

Read = dict[str, tuple[Path, str, list[Path]]]


def read_diffsynth(folder: Path, split: str) -> Read:
    """docs/en/Model_Details/MiniMax-H3.md: a JSON list; `references` are blocks with a type."""
    rows = {}
    for record in json.loads((folder / f"metadata_{split}.json").read_text()):
        assert all(block["type"] == "image" for block in record["references"])
        pictures = [folder / block["image"] for block in record["references"]]
        rows[_id(record["video"])] = (folder / record["video"], record["prompt"], pictures)
    return _opened(rows)


def read_diffsynth_vace(folder: Path, split: str) -> Read:
    """examples/wanvideo/…/Wan2.1-VACE-1.3B.sh: CSV; the picture is cropped to the clip's shape."""
    rows = {}
    with (folder / f"metadata_vace_{split}.csv").open(newline="") as file:
        for record in csv.DictReader(file):
            clip, picture = folder / record["video"], folder / record["vace_reference_image"]
            rows[_id(record["video"])] = (clip, record["prompt"], [picture])
            assert _shape(picture) == _shape_of_clip(clip)
    return _opened(rows)


def read_musubi(folder: Path, split: str) -> Read:
    """docs/minimax_h3.md: paths from the JSONL's folder; 1 to 9 pictures; 17n+5 target frames."""
    [dataset] = _toml(folder / f"h3_{split}.toml")["datasets"]
    lines = Path(dataset["video_jsonl_file"])
    assert dataset["cache_directory"] != lines.parent  # of its own for every dataset
    assert all(number % 17 == 5 for number in dataset["target_frames"])
    assert all(
        side % 32 == 0 for side in _toml(folder / f"h3_{split}.toml")["general"]["resolution"]
    )
    rows = {}
    for record in map(json.loads, lines.read_text().splitlines()):
        assert 1 <= len(record["references"]) <= 9
        assert all(set(each) == {"type", "path"} for each in record["references"])
        pictures = [lines.parent / each["path"] for each in record["references"]]
        clip = lines.parent / record["video_path"]
        rows[_id(record["video_path"])] = (clip, record["caption"], pictures)
    return _opened(rows)


def read_bernini(folder: Path, split: str) -> Read:
    """docs/bernini_r_train.md: images and videos in the order of the messages that name them."""
    rows = {}
    for path in sorted((folder / f"data_{split}").glob("*.parquet")):
        for record in pq.read_table(path).to_pylist():
            kinds = [message["type"] for message in json.loads(record["inputs"])]
            assert kinds.count("image") == len(record["images"])
            assert kinds.count("video_gen") == len(record["videos"]) == 1
            [text] = [m["text"] for m in json.loads(record["inputs"]) if m["type"] == "text"]
            clip = Path(record["videos"][0]["video_path"])
            rows[_id(clip)] = (clip, text, [Path(each) for each in record["images"]])
            assert all(each.is_absolute() for each in (clip, *rows[_id(clip)][2]))
    return _opened(rows)


def read_ltx(folder: Path, split: str) -> Read:
    """docs/dataset-preparation.md: every row has every column; pictures are cropped to the clip."""
    records = json.loads((folder / f"dataset_{split}.json").read_text())
    assert len({tuple(record) for record in records}) == 1
    rows = {}
    for record in records:
        names = sorted(name for name in record if name.startswith("reference_video"))
        clip, pictures = folder / record["video"], [folder / record[name] for name in names]
        assert all(_shape(picture) == _shape_of_clip(clip) for picture in pictures)
        rows[_id(clip)] = (clip, record["caption"], pictures)
    return _opened(rows)


def read_videox_fun(folder: Path, split: str) -> Read:
    """scripts/wan2.1_vace/README_TRAIN.md: the loader opens references from where it runs."""
    rows = {}
    for record in json.loads((folder / f"metadata_{split}.json").read_text()):
        assert record["type"] == "video"
        assert "control_file_path" in record  # the loader asks for it, and takes null
        assert len(record["object_file_path"]) <= 4
        clip, pictures = record["file_path"], [Path(each) for each in record["object_file_path"]]
        assert all(picture.is_absolute() for picture in pictures)
        assert (record["width"], record["height"]) == _size_of_clip(Path(clip))
        rows[_id(clip)] = (Path(clip), record["text"], pictures)
    return _opened(rows)


def read_diffusion_pipe(folder: Path, split: str) -> Read:
    """examples/dataset.toml: every clip has a .txt of its name; the folder holds nothing else."""
    config = _toml(folder / f"dataset_{split}.toml")
    [directory] = config["directory"]
    assert all(number == 1 or number % 4 == 1 for number in config["frame_buckets"])
    rows = {}
    for clip in sorted(Path(directory["path"]).glob("*.mp4")):
        rows[clip.stem] = (clip, clip.with_suffix(".txt").read_text(), [])
    assert len(list(Path(directory["path"]).iterdir())) == 2 * len(rows)
    return _opened(rows)


def read_opens2v(folder: Path, split: str) -> Read:
    """data_process/step6-2_get_cross-frame.py: the subject of a pair is cut out by its mask."""
    entries = json.loads((folder / "jsons" / f"{split}.json").read_text())
    pairs = json.loads((folder / "jsons" / "cross_video_pairs" / f"{split}.json").read_text())
    rows = {
        _id(entry["metadata"]["path"]): (
            folder / entry["metadata"]["path"],
            entry["metadata"]["face_cap_qwen"],
            [],
        )
        for entry in entries.values()
        if entry["metadata"]["path"].startswith("videos/")
    }
    for pair in pairs:
        entry = entries[pair["aft_id"]]
        size = entry["metadata"]["resolution"]
        masks = entry["annotation"]["mask_annotation"][str(pair["aft_frame_idx"])]
        [number] = [
            number
            for number, subject in entry["annotation"]["mask_map"].items()
            if subject["class_name"] == pair["aft_class_name"]
        ]
        mask = read_runs(masks[number]["counts"], size["height"], size["width"])
        assert mask.any()
        assert masks[number]["size"] == [size["height"], size["width"]]
        rows[entries[pair["cur_id"]]["metadata"]["path"][7:-4]][2].append(
            folder / entry["metadata"]["path"]
        )
    return _opened(rows)


def read_runs(counts: str, height: int, width: int) -> np.ndarray:
    """cocoapi's maskApi.h, rleFrString and rleDecode: a mask (height, width) of 0 and 1."""
    runs: list[int] = []
    signs = iter(counts)
    for sign in signs:
        value, shift, low = 0, 0, ord(sign) - 48
        while True:
            value |= (low & 31) << shift
            shift += 5
            if not low & 32:
                break
            low = ord(next(signs)) - 48
        if low & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    flat = np.concatenate([np.full(run, place % 2) for place, run in enumerate(runs)])
    return flat.reshape(width, height).T


READERS = {
    "bernini": read_bernini,
    "diffsynth": read_diffsynth,
    "diffusion-pipe": read_diffusion_pipe,
    "ltx": read_ltx,
    "musubi": read_musubi,
    "opens2v": read_opens2v,
    "videox-fun": read_videox_fun,
}


def _opened(rows: Read) -> Read:
    for clip, prompt, pictures in rows.values():
        assert _size_of_clip(clip)[0] > 0
        assert prompt
        assert all(_size_of_clip(picture)[0] > 0 for picture in pictures)
    return rows


def _id(path: str | Path) -> str:
    return Path(path).stem


def _toml(path: Path) -> dict:
    return tomllib.loads(path.read_text())


def _size_of_clip(path: Path) -> tuple[int, int]:
    with av.open(str(path)) as container:
        return container.streams.video[0].width, container.streams.video[0].height


def _shape_of_clip(path: Path) -> float:
    width, height = _size_of_clip(path)
    return round(width / height, 1)


def _shape(path: Path) -> float:
    picture = cv2.imread(str(path))
    assert picture is not None
    height, width = picture.shape[:2]
    return round(width / height, 1)
