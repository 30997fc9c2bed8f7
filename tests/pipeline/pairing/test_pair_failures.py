"""Every known way in which reference pairs go wrong, each tried on the code that must stop it."""

import json
import math
from dataclasses import replace
from typing import cast

import cv2
import numpy as np
import portraits
import pytest
import rows
from present import there
from rows import WINDOWS, candidate, clip, embedding, looks_like, person, track

from pipeline.engines.captions.attributes import AttributeCaptioner
from pipeline.engines.editing.edit_gate import EditGateConfig
from pipeline.engines.editing.editor import Edited
from pipeline.engines.editing.relight_editor import RelightEditor
from pipeline.engines.faces.opencv_faces import OpencvFaces
from pipeline.engines.identity.appearance import Appearance
from pipeline.engines.interfaces import Captioner, CaptionFacts, Detections, EngineInfo, PersonImage
from pipeline.engines.masks.grabcut import GrabCut
from pipeline.engines.people.opencv_people import OpencvPeople
from pipeline.engines.registry import LoadedEngines
from pipeline.media.images import decode_image, encode_jpeg, encode_png_mask
from pipeline.observing.candidates import ProposeReferences
from pipeline.observing.tracks import PeopleConfig, TrackPeople
from pipeline.observing.traits import traits_of
from pipeline.pairing.augment import (
    AugmentConfig,
    apply_recipe,
    draw_recipe,
    recipe_from_json,
)
from pipeline.pairing.captions import CaptionsConfig, write_captions
from pipeline.pairing.characters import find_characters
from pipeline.pairing.edit_choice import EditTask, prompts_for
from pipeline.pairing.edit_references import EditMaker, judge, sort_out
from pipeline.pairing.pair_config import PairConfig
from pipeline.pairing.reference_gates import ReferencesConfig
from pipeline.pairing.reference_pool import CandidatePool
from pipeline.pairing.references import choose_references
from pipeline.pairing.samples import plan_samples
from pipeline.pairing.vectors import identity_vectors
from pipeline.pictures.looks import look_of, place_of
from schemas.reasons import PairKind, Reason
from schemas.tables import Edit, FaceBox

HERE = clip("here", start_s=10.0)
ME = replace(track("me", HERE), character_id="hero")
BOX = np.array([60, 10, 460, 512], np.float32)  # of the astronaut in the portrait, by eye


class Gallery:
    """Candidates of one character beside one clip."""

    def __init__(self, me=ME) -> None:
        self.me, self.rows, self.vectors = me, [], [embedding(person(0), "me")]

    def add(
        self, name, cosine=0.8, shot_id="other", time_s=40.0, video_id="video", of=None, **more
    ):
        owner = of or track(f"track-{name}", clip(f"clip-{name}", video_id, shot_id, time_s - 1))
        self.rows.append(candidate(name, owner, time_s, **more))
        seed = int(rows.hash_of(name, digits=6), 16)
        look = looks_like(person(0), cosine, seed)
        self.vectors.append(embedding(look, owner.track_id, name))
        return self

    def choose(self, config=None, where=HERE):
        vectors = identity_vectors(self.vectors)
        pool = CandidatePool("hero", self.rows, vectors)
        return choose_references(self.me, where, pool, vectors, WINDOWS, config)


def names(choice):
    return sorted(row.reference_id for row in choice.references)


def reasons(choice):
    return {line.rejected.reason: line for line in choice.refused}


def seen(picture, box=BOX):
    """Return the columns that say what a picture looks like."""
    mask = np.zeros(picture.shape[:2], np.uint8)
    x0, y0, x1, y1 = box.astype(int)
    mask[y0:y1, x0:x1] = 255
    return vars(traits_of(PersonImage(picture, box), mask))


@pytest.fixture(scope="module")
def portrait():
    pytest.importorskip("skimage")
    return portraits.portrait()


# --- the reference gives the clip away ---------------------------------------------------------


def test_copy_paste_of_a_frame_of_the_clip_is_refused_though_its_hash_and_vector_differ(portrait):
    """Cropped tighter, darker and recompressed: neither hash nor identity vector tells."""
    darker = decode_image(encode_jpeg((portrait * 0.6).astype(np.uint8), 50))
    turned = cv2.warpAffine(
        portrait, cv2.getRotationMatrix2D((256, 256), 25, 1.3), (512, 512), borderMode=2
    )
    me = replace(ME, looks=[look_of(portrait, BOX)])
    gallery = Gallery(me).add("copy", **seen(darker)).add("free", **seen(turned))
    choice = gallery.choose()
    assert names(choice) == ["free"]
    line = reasons(choice)[Reason.NEAR_DUPLICATE_REFERENCE]
    assert (line.reference_id, line.rejected.threshold) == ("copy", 0.97)
    assert there(line.rejected.value) > 0.98
    (free,) = choice.references
    assert free.near_duplicate < 0.6


def test_pose_leakage_is_measured_and_another_pose_is_preferred():
    me = replace(ME, faces=[FaceBox(0, [0.0, 0.0, 9.0, 9.0], [], 0.9, 2.0)])
    gallery = Gallery(me).add("same-pose", yaw=0.0).add("turned", yaw=40.0)
    (best,) = gallery.choose(ReferencesConfig(max_references=1)).references
    assert (best.reference_id, best.pose_gap) == ("turned", 38.0)
    indifferent = ReferencesConfig(max_references=1, copy_aversion=0.0, variety=0.0)
    gallery.rows[0] = replace(gallery.rows[0], quality=0.81)
    (best,) = gallery.choose(indifferent).references
    assert (best.reference_id, best.pose_gap) == ("same-pose", 2.0)


def test_another_wall_of_the_clips_room_is_replaced_in_its_own_video_only():
    """Two shots of one set: colours that are alike, but not the same."""
    here, wall = np.zeros((2, 256), np.uint8)
    here[:5], wall[1:6] = 200, 200
    assert 0.75 < here @ (wall / 200**2) / 5 < 0.85
    for video, copied in (("video", True), ("elsewhere", False)):
        gallery = Gallery().add("own", time_s=11.0, of=ME, place=here.tobytes())
        gallery.add("other", video_id=video, place=wall.tobytes())
        (chosen,) = gallery.choose().references
        assert (chosen.reference_id, chosen.near_copy) == ("other", copied)


def test_the_same_view_of_the_same_place_is_flagged_for_review(portrait):
    place = seen(portrait)["place"]
    me = replace(ME, faces=[FaceBox(0, [0.0, 0.0, 9.0, 9.0], [], 0.9, 2.0)])
    gallery = Gallery(me).add("own", time_s=11.0, of=me, place=place)
    gallery.add("other-shot", yaw=1.0, place=place)
    (chosen,) = gallery.choose().references
    assert (chosen.reference_id, chosen.review) == ("other-shot", "same_view")


def test_background_leakage_a_reference_before_the_clips_background_gets_another(portrait):
    """A different shot in the same room: nothing but the place is the same."""
    clips = [clip(f"clip{i}", "video", f"shot{i}", start_s=20.0 * i) for i in (0, 1)]
    tracks = [track(f"track{i}", each) for i, each in enumerate(clips)]
    room = place_of(portrait, np.zeros(portrait.shape[:2]))
    elsewhere = place_of(portraits.ground(), np.zeros((480, 640)))
    seldom = PairConfig(augment=AugmentConfig(background=0.01))  # of what is no copy
    for place, augmented in ((room, True), (elsewhere, False)):
        images = [candidate(f"i{i}", each, 20.0 * i, place=room) for i, each in enumerate(tracks)]
        images[1] = replace(images[1], place=place)
        vectors = [embedding(looks_like(person(0), 0.95, i), f"track{i}") for i in (0, 1)]
        vectors += [embedding(looks_like(person(0), 0.9, 9 + i), f"track{i}", f"i{i}")
                    for i in (0, 1)]  # fmt: skip
        plans = plan_samples(clips, tracks, images, vectors, WINDOWS, seldom)
        (row,) = next(plan for plan in plans.samples if plan.track_id == "track0").references
        assert row.kind == PairKind.SAME_VIDEO_OTHER_SHOT
        assert bool(row.augmentation) == augmented
        assert not augmented or recipe_from_json(row.augmentation).background != "keep"
        assert (row.place_similarity > 0.95) == augmented


def test_background_leakage_no_old_ground_is_left_under_the_soft_edge():
    image = np.zeros((300, 200, 3), np.uint8)
    image[...] = (0, 255, 0)
    mask = np.zeros((300, 200), np.uint8)
    cv2.ellipse(mask, (100, 150), (60, 110), 0, 0, 360, 255, -1)
    image[mask > 0] = (180, 60, 60)
    image = cv2.GaussianBlur(image, (7, 7), 0)  # hair and motion mix person and ground
    recipe = replace(
        draw_recipe("sample", "reference", AugmentConfig(background=1.0)),
        noise=0.0,
        jpeg_quality=95,
    )
    changed, _ = apply_recipe(image, mask, recipe)
    red, green, blue = changed.astype(int).transpose(2, 0, 1)
    assert (green - np.maximum(red, blue)).max() < 60  # the old ground had 255


def test_same_timestamp_reference_from_an_overlapping_clip_counts_as_the_clips_own():
    gallery = Gallery().add("same-moment", shot_id="shot", time_s=11.0)
    (row,) = gallery.choose().references
    assert row.kind == PairKind.IN_CLIP_AUGMENTED


def test_same_timestamp_reference_from_another_upload_of_the_film_is_no_cross_pair(portrait):
    me = replace(ME, looks=[look_of(portrait, BOX)])
    gallery = Gallery(me).add("re-upload", video_id="again", **seen(portrait))
    gallery.add("own", of=me, time_s=11.0)
    (row,) = gallery.choose().references
    assert row.near_copy  # better than the clip's own picture, and changed like it


def test_black_and_white_is_not_carried_over(portrait):
    grey = np.repeat(portrait.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    gallery = Gallery().add("own", time_s=11.0, of=ME, chroma=seen(portrait)["chroma"])
    gallery.add("grey", chroma=seen(grey)["chroma"]).add("colour", chroma=seen(portrait)["chroma"])
    choice = gallery.choose()
    assert names(choice) == ["colour"]
    assert reasons(choice)[Reason.COLOUR_DIFFERS].reference_id == "grey"
    assert names(gallery.choose(ReferencesConfig(match_colour=False))) == ["colour", "grey"]


def test_the_clips_own_pictures_are_not_refused_for_their_colour():
    """In the dark some of them look grey."""
    gallery = Gallery()
    for index, chroma in enumerate((7.1, 7.0, 5.5)):
        gallery.add(f"own{index}", time_s=11.0 + index, of=ME, chroma=chroma)
    assert Reason.COLOUR_DIFFERS not in reasons(gallery.choose())


def test_caption_does_not_describe_the_references_background():
    """Whoever writes a caption is given the clip, and never sees a reference."""
    facts = [CaptionFacts(HERE, (ME,), ME)]
    (caption,) = write_captions(
        facts, [""], cast(Captioner, AttributeCaptioner()), CaptionsConfig(), lambda one: one
    )
    assert caption.text
    assert not {"references", "candidates"} & set(vars(facts[0]))
    assert "beach" not in caption.text + caption.description


# --- the reference shows somebody else, or too little -------------------------------------------


def test_wrong_identity_a_look_alike_below_the_window_is_refused_with_its_cosine():
    choice = Gallery().add("look-alike", 0.39).add("me-again", 0.8).choose()
    assert names(choice) == ["me-again"]
    line = reasons(choice)[Reason.LOW_SIMILARITY].rejected
    assert (line.value, line.threshold) == (pytest.approx(0.39, abs=1e-5), WINDOWS.reference_floor)


def test_wrong_identity_a_poster_or_mirror_in_the_clip_never_serves_the_person():
    """The poster looks just like the person; they are seen at once, so they are two."""
    scene, later = clip("scene"), clip("later", shot_id="other", start_s=30.0)
    tracks = [track("person", scene, 50), track("poster", scene, 600), track("again", later)]
    vectors = [embedding(looks_like(person(0), 0.99, s), t.track_id) for s, t in enumerate(tracks)]
    images = [candidate(f"of-{t.track_id}", t, 30.0 * (t.clip_id == "later")) for t in tracks]
    vectors += [embedding(looks_like(person(0), 0.97, 9 + s), t.track_id, f"of-{t.track_id}")
                for s, t in enumerate(tracks)]  # fmt: skip
    plans = plan_samples([scene, later], tracks, images, vectors, WINDOWS)
    for plan in plans.samples:
        of = {row.track_id for row in plan.references}
        assert not ({"person", "poster"} <= {plan.track_id, *of})


def test_wrong_identity_twins_make_what_fits_both_ambiguous():
    scene, later = clip("scene"), clip("later", shot_id="other", start_s=30.0)
    tracks = [track("left", scene, 50), track("right", scene, 600), track("again", later)]
    vectors = [embedding(looks_like(person(0), 0.999, s), t.track_id) for s, t in enumerate(tracks)]
    found = find_characters(tracks, {"scene": scene, "later": later}, vectors, WINDOWS)
    assert found.rejected["again"].reason == Reason.IDENTITY_AMBIGUOUS


def followed(frames, box):
    """Follow one person who is detected in the same place all the time."""

    class OnePlace:
        info = EngineInfo("test-people/1", "person_detection", "", True)

        def detect(self, pictures):
            return [Detections(np.array([box], np.float32), np.ones(1)) for _ in pictures]

    row = TrackPeople(OnePlace()).process(portraits.clip_row(frames))
    refused = [PeopleConfig().check(track, row.clip) for track in row.tracks]
    return row.tracks, refused


def test_id_switch_in_the_tracker_is_refused_as_impure(portrait):
    """Halfway another person stands where the first one stood."""
    other = portraits.recoloured(portrait)
    first = [portraits.placed(100 + 2 * (k % 12), 120, 360) for k in range(64)]
    second = [portraits.placed(100 + 2 * (k % 12), 120, 360, other) for k in range(32)]
    tracks, refused = followed(first[:32] + second, [180, 120, 390, 480])
    assert tracks
    assert {there(each).reason for each in refused} <= {Reason.IMPURE_TRACK, Reason.TRACK_TOO_SHORT}
    _, steady = followed(first, [180, 120, 390, 480])
    assert steady == [None]


def test_hidden_cut_in_a_clip_leaves_no_track_that_spans_it(portrait):
    """A cut that was missed, to the same framing of somebody else before another wall."""
    other = np.clip(portraits.recoloured(portrait, 150) * 0.6 + 40, 0, 255).astype(np.uint8)
    second = cv2.flip(portraits.placed(100, 120, 360, other), 1)
    frames = [portraits.placed(100, 120, 360)] * 32 + [255 - second] * 32
    _, refused = followed(frames, [130, 120, 430, 480])
    assert all(each is not None for each in refused)


def test_half_faces_are_no_references():
    gallery = Gallery().add("half", face=[0.0, 20.0, 30.0, 90.0])
    gallery.add("whole", face=[60.0, 20.0, 120.0, 90.0])
    choice = gallery.choose()
    assert names(choice) == ["whole"]
    assert "side of the picture" in reasons(choice)[Reason.LOW_QUALITY_REFERENCE].rejected.detail


def test_a_face_of_which_the_picture_cuts_off_less_than_a_quarter_is_a_reference():
    gallery = Gallery().add("most", face=[0.0, 20.0, 50.0, 90.0])
    gallery.add("half", face=[160.0, 20.0, 200.0, 90.0])
    gallery.add("chin-and-half", face=[0.0, 0.0, 60.0, 60.0])  # of how high a face?
    assert names(gallery.choose()) == ["most"]


def test_a_back_that_fills_the_picture_to_its_upper_edge_is_no_body_part():
    back = {"face": [], "whole_body": False, "truncation": 0.15}
    gallery = Gallery().add("back", box=[50.0, 0.0, 150.0, 280.0], **back)
    gallery.add("torso", box=[20.0, 0.0, 180.0, 300.0], **back)
    gallery.add("legless", box=[50.0, 20.0, 150.0, 300.0], **back)
    assert names(gallery.choose()) == ["back"]


def test_hands_and_other_body_parts_are_no_references():
    part = {"face": [], "whole_body": False, "truncation": 0.25}
    gallery = Gallery().add("hand", **part).add("face", face=[60.0, 20.0, 120.0, 90.0])
    choice = gallery.choose()
    assert names(choice) == ["face"]
    assert reasons(choice)[Reason.BODY_PART].number == 1
    assert names(gallery.choose(ReferencesConfig(body_parts=True))) == ["face", "hand"]


def test_mask_containing_another_face_is_measured_and_refused(portrait):
    """Two people side by side: a box and a mask that hold both."""
    pair = np.concatenate([portrait[:, 60:420], portrait[:, 60:420]], axis=1)

    class Everything(GrabCut):
        def segment(self, people):
            return [np.full(each.picture.shape[:2], 255, np.uint8) for each in people]

    row = portraits.clip_row([cv2.resize(pair, (640, 456))] * 16)
    wide = [[5.0, 5.0, 635.0, 451.0]] * 16
    face = FaceBox(0, [105.0, 55.0, 195.0, 160.0], [], 0.9, 0.0)
    row = replace(row, tracks=(track("both", row.clip, boxes=wide, faces=[face]),))
    stage = ProposeReferences(Everything(), Appearance(), faces=OpencvFaces())
    shares = [each.other_face for each in stage.process(row).candidates]
    assert max(shares) > 0.9
    choice = Gallery().add("two", other_face=max(shares)).add("one").choose()
    assert names(choice) == ["one"]
    assert reasons(choice)[Reason.OTHER_FACE].rejected.threshold == 0.25


def test_people_under_subtitles_are_no_references():
    choice = Gallery().add("subtitle", lettering=0.05).add("stripes", lettering=0.017).choose()
    assert names(choice) == ["stripes"]
    refused = reasons(choice)[Reason.LOW_QUALITY_REFERENCE].rejected
    assert (refused.value, refused.threshold) == (0.05, 0.03)
    assert "lettering" in refused.detail


def test_low_resolution_references_are_refused_by_the_size_in_the_source():
    choice = Gallery().add("small", size_px=100.0).add("large").choose()
    assert names(choice) == ["large"]
    line = reasons(choice)[Reason.LOW_QUALITY_REFERENCE].rejected
    assert (line.value, line.threshold) == (100.0, 128.0)


# --- the edit drifts ----------------------------------------------------------------------------


class Repainter:
    """An editor that does what it should not: it gives the person other colours."""

    info = EngineInfo("test-repaint/1", "reference_editing", "", True)

    def edit(self, requests):
        return [
            Edited(r.reference_id, portraits.recoloured(r.person.picture), r.prompt.id, "", 0, "x")
            for r in requests
        ]


@pytest.fixture(scope="module")
def source(portrait):
    [faces] = OpencvFaces().detect([portrait])
    of = track("source-track", clip("source-clip", "video", "other", start_s=40.0))
    mask = np.zeros(portrait.shape[:2], np.uint8)
    mask[10:512, 60:460] = 255
    return candidate(
        "source", of, 40.0, width=512, height=512, box=BOX.tolist(), face=faces.boxes[0].tolist(),
        image=encode_jpeg(portrait, 95), mask=encode_png_mask(mask),
    )  # fmt: skip


def edits_of(editor, source, number) -> list[Edit]:
    engines = LoadedEngines(OpencvPeople(), OpencvFaces(), Appearance(), GrabCut())
    place = (source.track_id, source.clip_id, source.video_id)
    tasks = [
        EditTask(f"edit{i}", source.reference_id, *place, prompt)
        for i, prompt in enumerate(prompts_for(editor.info.id, "source", number))
    ]
    return EditMaker(editor, engines).make(tasks, {source.reference_id: source})


def test_edit_drift_of_skin_and_clothes_is_refused_and_never_a_reference(source):
    for edit in edits_of(Repainter(), source, 1):
        rejected = judge(edit, EditGateConfig(), Appearance().windows.reference_floor)
        assert rejected is not None
        assert rejected.reason in (
            Reason.SKIN_CHANGED, Reason.CLOTHES_CHANGED, Reason.LOW_SIMILARITY, Reason.NO_FACE,
        )  # fmt: skip


@pytest.fixture(scope="module")
def relit(source):
    return edits_of(RelightEditor(), source, 2)


def test_edits_that_pass_are_references_of_their_own_kind_and_others_are_in_the_ledger(
    source, relit
):
    edits = relit
    done = {edit.edit_id: ("path", edit) for edit in edits}
    place = (source.track_id, source.clip_id, source.video_id)
    tasks = [
        EditTask(edit.edit_id, "source", *place, prompt)
        for edit, prompt in zip(edits, prompts_for("relight/1", "source", 2), strict=True)
    ]
    windows = {source.track_id: Appearance().windows}
    sorted_out = sort_out(tasks, done, windows, EditGateConfig())
    assert sorted_out.candidates
    assert len(sorted_out.candidates) + len(sorted_out.ledger.rejects) == 2
    for row in sorted_out.candidates:
        recipe = json.loads(row.edit)
        assert recipe["engine"] == "relight/1"
        assert {"similarity", "change", "tint"} <= set(recipe["checks"])
        assert row.source_reference_id == "source"
    strict = sort_out(tasks, done, windows, EditGateConfig(min_change=0.5))
    assert not strict.candidates
    assert {row.reason for row in strict.ledger.rejects} == {Reason.NEAR_COPY}
    gallery = Gallery()
    for row in sorted_out.candidates:
        gallery.rows.append(replace(row, size_px=300.0))
        gallery.vectors.append(embedding(looks_like(person(0), 0.9, 4), row.track_id,
                                         row.reference_id))  # fmt: skip
    assert {row.kind for row in gallery.choose().references} == {PairKind.EDITED}


def test_a_relit_picture_of_the_clip_itself_is_still_a_copy_of_it(portrait, relit):
    """Light does not hide the pose: what was only relit is no edited reference of its own clip."""
    gallery = Gallery(replace(ME, looks=[look_of(portrait, BOX)]))
    for edit in relit:
        row = replace(edit.candidate[0], size_px=300.0, edit="{}")
        gallery.rows.append(row)
        gallery.vectors.append(embedding(looks_like(person(0), 0.9, 4), "x", row.reference_id))
    gallery.add("free")
    choice = gallery.choose()
    assert names(choice) == ["free"]
    line = reasons(choice)[Reason.NEAR_DUPLICATE_REFERENCE]
    assert (line.number, line.rejected.threshold) == (2, 0.85)


# --- the pairing code itself --------------------------------------------------------------------


def test_self_pair_and_independent_choice_every_pair_is_one_row():
    """Ids, similarity and kind come from one candidate; the clip's own is never unchanged."""
    gallery = Gallery()
    cosines = {f"r{i}": 0.71 + 0.03 * i for i in range(9)}
    for name, cosine in cosines.items():
        gallery.add(name, cosine, video_id=f"video-{name}")
    gallery.add("own", 0.99, of=ME, time_s=11.0)
    chosen = gallery.choose(ReferencesConfig(max_references=8)).references
    assert len({row.reference_id for row in chosen}) == len(chosen)
    for row in chosen:
        assert row.similarity == pytest.approx(cosines[row.reference_id], abs=1e-5)
        assert (row.track_id, row.clip_id, row.video_id) == (
            f"track-{row.reference_id}", f"clip-{row.reference_id}", f"video-{row.reference_id}",
        )  # fmt: skip
        assert row.clip_id != HERE.clip_id
        assert math.isnan(row.time_gap_s)
