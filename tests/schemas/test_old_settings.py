"""Settings stored before they had sections are found under the names of today."""

import json

import pytest

from schemas.old_settings import current_settings

# The settings of a manifest as the last version without sections wrote them.
_STORED = json.loads("""
{"candidates": {"jpeg_quality": 95, "margin": 1.4, "max_side": 1024, "min_px": 64.0, "per_track":
4}, "captions": {"batch_size": 16, "check_count": true, "max_description_length": 300,
"max_length": 600, "prefer_given": true}, "clips": {"encoding": {"crf": 20, "keyframe_every": 48,
"preset": "ultrafast"}, "fps": 16, "guard": 2, "max_hold_s": 0.5, "max_s": 10.0, "max_upscale":
1.5, "min_s": 2.0, "size_classes": [480, 320, 240], "still_quality": 92, "still_side": 1920,
"stills_fps": 2.0, "stride_s": null}, "duplicates": {"max_distance": 2}, "engines": {"captions":
"attributes", "editor": "none", "faces": "opencv", "masks": "grabcut", "people": "opencv",
"recogniser": "appearance", "scorers": []}, "faces": {"max_images": 8, "search_px": 224},
"licences": {"allowed": []}, "observe_version": 3, "pairing": {"augment": {"background": 0.9,
"blur": 0.6, "exposure_ev": 0.5, "flip": 0.0, "grow_octaves": 0.1, "jpeg_quality": 70, "light_ev":
1.4, "noise": 0.012, "perspective": 0.05, "rotation_degrees": 12.0, "shift": 0.06,
"shrink_octaves": 0.35, "temperature_mired": 50.0}, "characters": {"cross_video": null,
"min_margin": 0.03, "one_person": 0.6, "same_video": null, "suspect_band": 0.05, "two_people":
0.1}, "edits": {"gate": {"max_garment": 7.0, "max_tint": 0.3, "max_warmth": 1.1, "min_change":
0.035, "min_face": 0.35, "min_signature": 0.5, "min_similarity": null}, "prompts": 2, "sources":
2}, "references": {"augmented": ["same_shot_other_clip", "in_clip_augmented"], "body_parts":
false, "copy_aversion": 0.3, "kinds": {"cross_video": {"ceiling": "duplicate", "floor":
"cross_video", "max_near_duplicate": 0.97, "min_gap_s": 0.0, "share": 0.5}, "edited": {"ceiling":
"duplicate", "floor": "reference_floor", "max_near_duplicate": 0.85, "min_gap_s": 0.0, "share":
0.2}, "in_clip_augmented": {"ceiling": "none", "floor": "reference_floor", "max_near_duplicate":
Infinity, "min_gap_s": 0.0, "share": 1.0}, "same_shot_other_clip": {"ceiling": "duplicate",
"floor": "reference_floor", "max_near_duplicate": 0.97, "min_gap_s": 5.0, "share": 1.0},
"same_video_other_shot": {"ceiling": "duplicate", "floor": "reference_floor",
"max_near_duplicate": 0.97, "min_gap_s": 0.0, "share": 0.3}}, "match_colour": true,
"max_hash_distance": 6, "max_other_face": 0.25, "max_place_similarity": 0.9, "max_references": 4,
"min_difference": 0.04, "min_px": 128.0, "min_quality": 0.2, "primary_yaw": 45.0,
"review_near_duplicate": 0.85, "tiers": [["cross_video", "same_video_other_shot", "edited"],
["same_shot_other_clip"], ["in_clip_augmented"]], "variety": 0.1}, "samples": "per_character",
"splits": {"copies": {"max_distance": 3}, "seed": 0, "test": 0.01, "train": 0.98, "validation":
0.01}, "windows": []}, "part_s": 600.0, "people": {"max_people": 3, "min_area": 0.04,
"min_body_aspect": 1.6, "min_coverage": 0.6, "min_face_rate": 0.2, "min_faces": 2, "min_motion":
1.0, "min_purity": 0.7, "min_px": 128.0, "min_s": 1.5, "weak_detectors": ["opencv-"]}, "probe":
{"integrity": "reject", "max_duration_s": 21600.0, "max_expansion": 20000.0, "max_fps": 300.0,
"max_frames": 1296000, "max_missing": 0.01, "max_pixels": 35389440, "max_size_bytes": 68719476736,
"max_streams": 100, "min_duration_s": 1.0, "min_fps": 9.0, "min_side": 64}, "quality":
{"max_black_border": 0.25, "max_bright": 0.6, "max_dark": 0.75, "max_motion": 20.0,
"max_text_area": 0.015, "min_brightness": 0.06, "min_contrast": 0.05, "min_motion": 0.04,
"min_sharpness": 15.0}, "scores": {"max_nsfw": 0.5, "max_text": 0.015, "max_watermark": 0.5,
"min_aesthetic": 4.0}, "shards": {"size_mib": 256}, "shots": {"adaptive_threshold": 4.0,
"adaptive_window": 3, "content_threshold": 27.0, "dark_level": 24.0, "detectors": ["adaptive",
"fade"], "fade_change": 6.0, "fade_likeness": 0.8, "fade_residual": 0.3, "fade_windows_s": [0.5,
1.0], "min_change": 15.0, "picture_width": 160}, "tracks": {"detect_fps": 2.0, "follow_fps": 8.0,
"min_alike": 0.75, "min_detections": 2, "min_motion": 1.0}}
""")


def test_every_setting_of_an_old_manifest_is_found_under_its_new_name() -> None:
    old, new = _STORED, current_settings(_STORED)
    assert set(new) == {"observe", "pair", "observe_version"}
    assert new["observe"] == {
        "engines": {
            "faces": "opencv", "masks": "grabcut", "people": "opencv",
            "recogniser": "appearance", "scorers": [],
        },
        "probe": old["probe"], "clips": old["clips"],
        "shots": {
            "dark_level": 24.0, "fade_change": 6.0, "fade_likeness": 0.8, "picture_width": 160,
        },
        "tracks": {name: old["tracks"][name] for name in old["tracks"] if name != "detect_fps"},
        "faces": old["faces"], "candidates": old["candidates"],
        "part_s": 600.0,
    }  # fmt: skip
    assert new["pair"] == {
        "engines": {"captions": "attributes", "editor": "none"},
        "licences": old["licences"], "quality": old["quality"], "scores": old["scores"],
        "duplicates": old["duplicates"], "people": old["people"],
        "captions": old["captions"], "shards": old["shards"], **old["pairing"],
    }  # fmt: skip
    assert new["observe_version"] == 3


def test_what_a_user_told_an_older_shot_detector_is_not_taken_for_todays() -> None:
    shots = _STORED["shots"] | {"adaptive_threshold": 3.0}
    assert current_settings({"shots": shots})["observe"]["shots"]["adaptive_threshold"] == 3.0


def test_how_often_people_were_looked_for_is_kept_where_a_user_set_it() -> None:
    others = _STORED | {"tracks": _STORED["tracks"] | {"detect_fps": 3.0}}
    assert current_settings(others)["observe"]["tracks"]["detect_fps"] == 3.0
    today = {"observe": {"tracks": {"detect_fps": 2.0}}, "observe_version": 7}
    assert current_settings(today) == today


def test_settings_that_have_sections_come_back_equal() -> None:
    new = current_settings(_STORED)
    assert current_settings(new) == new


def test_parts_of_old_settings_are_read_too() -> None:
    """Units store what they were measured with, and a run names only what it changes."""
    assert current_settings({"cluster": {"patience_s": 5}, "max_failed": 0.5}) == {
        "run": {"cluster": {"patience_s": 5}, "max_failed": 0.5}
    }
    assert current_settings({"engines": {"people": "opencv"}, "weights": {"people": "ab"}}) == {
        "observe": {"engines": {"people": "opencv"}}, "weights": {"people": "ab"},
    }  # fmt: skip


@pytest.mark.parametrize("odd", [{"engines": None}, {"pairing": 3}, {"pair": [1]}])
def test_a_damaged_section_is_left_out(odd: dict) -> None:
    assert current_settings({"quality": {"min_motion": 0.1}} | odd) == {
        "pair": {"quality": {"min_motion": 0.1}}
    }
