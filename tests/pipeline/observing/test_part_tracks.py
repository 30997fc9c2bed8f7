"""A track that goes over to another person becomes two, and one of one person stays one."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import rows
from test_faces import NoFaces

from pipeline.engines.identity.spaces import Space, Worn, join
from pipeline.engines.interfaces import EngineInfo
from pipeline.execution.stage import ClipRow, Still
from pipeline.media.images import encode_jpeg
from pipeline.observing.faces import FacesConfig, FindFaces
from pipeline.observing.part_tracks import change_in

SPACES = (
    Space("face", 0, 3, rows.WINDOWS),
    Space("body", 3, 6, rows.WINDOWS, Worn(((3, 6),), least=0.8, margin=0.2, floor=0.65)),
)
RED, BLUE, NOTHING = (1.0, 0.1, 0.1), (0.1, 0.1, 1.0), (0.0, 0.0, 0.0)
ANN, BOB = (1.0, 0.0, 0.2), (0.0, 1.0, 0.2)


def looks(*seen):
    """Return the vectors of looks at (face, clothes)."""
    blocks = [np.array(block, np.float32) for block in zip(*seen, strict=True)]
    unit = [
        block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-6) for block in blocks
    ]
    return join(unit)


@pytest.mark.parametrize(
    ("seen", "change"),
    [
        pytest.param([(NOTHING, RED)] * 3 + [(NOTHING, BLUE)] * 4, 3, id="other clothes"),
        pytest.param([(ANN, RED)] * 3 + [(BOB, RED)] * 4, 3, id="another face in the same clothes"),
        pytest.param([(ANN, RED)] * 3 + [(BOB, BLUE)] * 4, 3, id="both"),
        pytest.param([(ANN, RED)] * 7, None, id="nobody else"),
        pytest.param([(ANN, RED)] * 3 + [(ANN, BLUE)] * 4, None, id="a face in other light"),
        pytest.param([(NOTHING, RED), (NOTHING, BLUE)] * 4, None, id="to and fro"),
        pytest.param([(NOTHING, RED)] * 6 + [(NOTHING, BLUE)], None, id="one odd look"),
    ],
)
def test_a_change_is_found_where_it_is_and_only_there(seen, change):
    assert change_in(looks(*seen), SPACES) == change


@dataclass
class Colours:
    """A recogniser of no faces whose vector is the colour of the person's box."""

    spaces = SPACES
    windows = rows.WINDOWS
    info: EngineInfo = field(default=EngineInfo("test-colours/1", "recognition", "", True))

    def embed(self, people):
        seen = []
        for person in people:
            left, top, right, bottom = np.asarray(person.box).astype(int)
            middle = person.picture[top:bottom, left:right].reshape(-1, 3).mean(axis=0)
            seen.append((NOTHING, middle / 255))
        return looks(*seen)


def walk(colours, purity):
    clip = rows.clip("clip", length_s=len(colours) / 2)
    stills = []
    for number, colour in enumerate(colours):
        picture = np.full((clip.height, clip.width, 3), 90, np.uint8)
        picture[60:460, 300:450] = colour
        stills.append(Still(number * 8, number / 2, clip.width, clip.height, 1.0, 0.0, 0.0,
                            encode_jpeg(picture)))  # fmt: skip
    return ClipRow(clip, b"", tuple(stills), tracks=(rows.track("whole", clip, purity=purity),))


def test_both_parts_are_tracks_of_their_own_and_no_frame_shows_the_change():
    row = walk([(250, 20, 20)] * 3 + [(20, 20, 250)] * 5, purity=0.5)
    done = FindFaces(NoFaces(), Colours()).process(row)
    first, second = done.tracks
    assert (first.first_frame, len(first.boxes)) == (0, 17)  # to the last look at the first
    assert (second.first_frame, len(second.boxes)) == (24, 40)
    assert first.track_id != second.track_id
    assert {first.purity, second.purity} == {1.0}
    assert second.coverage == pytest.approx(40 / 64)
    assert sorted(each.track_id for each in done.embeddings) == sorted(
        [first.track_id, second.track_id]
    )


@pytest.mark.parametrize(
    ("row", "config"),
    [
        pytest.param(walk([(250, 20, 20)] * 8, 0.5), FacesConfig(), id="one person in bad light"),
        pytest.param(
            walk([(250, 20, 20)] * 3 + [(20, 20, 250)] * 5, 0.9), FacesConfig(), id="pure"
        ),
        pytest.param(
            walk([(250, 20, 20)] * 3 + [(20, 20, 250)] * 5, 0.5),
            replace(FacesConfig(), part_below=0.0),
            id="not wished",
        ),
    ],
)
def test_what_may_be_one_person_stays_one_track(row, config):
    [track] = FindFaces(NoFaces(), Colours(), config).process(row).tracks
    assert track.track_id == "whole"
