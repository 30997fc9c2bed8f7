"""Many rows: candidates from blocks, the same clusters as from all pairs."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import rows

from pipeline.dataset.decided import Decided
from pipeline.pairing import linkage, neighbours
from pipeline.pairing.characters import describe_characters, find_characters
from pipeline.pairing.cohesion import Cohesion
from pipeline.pairing.linkage import link
from pipeline.pairing.vectors import identity_vectors

pytestmark = pytest.mark.slow


def crowd(number: int, people: int, noise: float = 0.7, size: int = 64):
    """Return vectors of people who are seen about equally often, and who is who."""
    random = np.random.default_rng(7)
    faces = random.standard_normal((people, size))
    who = random.integers(0, people, number)
    vectors = faces[who] + noise * random.standard_normal((number, size))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), who


def test_blocks_give_the_clusters_of_all_pairs():
    vectors, who = crowd(4000, 300)
    random = np.random.default_rng(1)
    cannot = [(int(a), int(b)) for a, b in (random.choice(4000, 2, False) for _ in range(500))]
    exact = link(vectors, 0.45, cannot)
    assert np.array_equal(link(vectors, 0.45, cannot, exact=0), exact)
    assert sum(len(set(who[exact == first])) > 1 for first in np.unique(exact)) <= 3


@pytest.mark.parametrize("dense", [0, 2048])
def test_looking_through_every_cell_is_exact_even_among_strangers(monkeypatch, dense):
    """Noise so strong that chains join nearly everybody: the queue must still do what it should."""
    vectors, _ = crowd(1200, 90, noise=1.2, size=32)
    monkeypatch.setattr(neighbours, "PROBED", 1200)
    monkeypatch.setattr(neighbours, "NEIGHBOURS", 1199)
    monkeypatch.setattr(linkage, "DENSE", dense)
    cannot = [(i, i + 1) for i in range(0, 1000, 10)]
    assert np.array_equal(link(vectors, 0.4, cannot, exact=0), link(vectors, 0.4, cannot))


def test_threads_change_nothing():
    program = (
        "import sys; sys.path[:0] = ['.', 'tests/benchmarks', 'tests/helpers'];"
        "from test_characters_scale import crowd;"
        "import faiss, hashlib; faiss.omp_set_num_threads(int(sys.argv[1]));"
        "from pipeline.pairing.linkage import link;"
        "found = link(crowd(3000, 200)[0], 0.45, exact=0);"
        "print(len(set(found.tolist())), hashlib.sha256(found.tobytes()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program, threads], capture_output=True, text=True, check=True
        ).stdout
        for threads in ("1", "4")
    }
    assert len(said) == 1


def test_fits_and_suspects_are_those_of_all_pairs():
    vectors, who = crowd(600, 60)
    clips, tracks, embeddings = {}, [], []
    for index, vector in enumerate(vectors):
        place = rows.clip(f"c{index:04}", f"v{index % 40}", f"s{index}", 10.0 * index)
        clips[place.clip_id] = place
        tracks.append(replace(rows.track(f"t{index:04}", place), character_id=f"p{who[index]:02}"))
        embeddings.append(rows.embedding(vector, f"t{index:04}"))
    known = identity_vectors(embeddings)
    windows = replace(rows.WINDOWS, cross_video=0.5, same_video=0.45)
    every, blocked = Cohesion(tracks, known), Cohesion(tracks, known, exact=0)
    full, near = every.memberships(windows), blocked.memberships(windows)
    for track_id, fit in full.items():
        assert near[track_id].own == pytest.approx(fit.own, abs=1e-5)
        assert near[track_id].second <= fit.second + 1e-5
    same = [near[name].second_character_id == full[name].second_character_id for name in full]
    assert np.mean(same) > 0.85  # the next best of 60 unlike people is a matter of chance
    found = every.suspects(full, windows, 0.1, Decided())
    assert blocked.suspects(near, windows, 0.1, Decided()) == found


def test_characters_are_described_by_how_pure_they_are():
    clips, tracks, embeddings = {}, [], []
    for index, (who, video) in enumerate([(0, "x"), (0, "x"), (0, "y"), (1, "z")]):
        place = rows.clip(f"c{index}", video, f"s{index}", 10.0 * index)
        clips[place.clip_id] = place
        tracks.append(rows.track(f"t{index}", place))
        look = rows.looks_like(rows.person(who), 0.95, index)
        embeddings.append(rows.embedding(look, f"t{index}"))
    found = find_characters(tracks, clips, embeddings, rows.WINDOWS)
    described = describe_characters(found, "net/1", "d" * 64)
    hero, lonely = sorted(described, key=lambda row: -row.num_tracks)
    assert (hero.recogniser, hero.recogniser_digest) == ("net/1", "d" * 64)
    assert (hero.num_tracks, hero.num_videos, lonely.num_tracks) == (3, 2, 1)
    assert 0.7 < hero.weakest <= hero.cohesion < 1
    assert np.isnan(lonely.cohesion)
    assert hero.next_character_id == lonely.character_id
