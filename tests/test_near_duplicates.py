"""Nearly equal clips and the splits that keep them apart."""

import json

import numpy as np
import pytest
from aihub_tree import clip, put
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.clip_probing import NUM_FRAMES, fingerprint, probe_clip, read_cache
from corpus.near_duplicates import hash_array, near_duplicates
from corpus.splits import given_split, group_clips, leaking, split_groups


def random_clips(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.integers(0, 2**63, (count, 4), dtype=np.uint64) * np.uint64(2), draw.integers(0, 256, (count, 4 * 27))


def flip(hashes: np.ndarray, bits: int) -> np.ndarray:
    return hashes ^ np.uint64((1 << bits) - 1)


@pytest.mark.parametrize(("bits", "found"), [(0, True), (8, True), (9, False)])
def test_pairs_are_found_up_to_the_threshold(bits, found):
    hashes, colours = random_clips(200)
    hashes[150], colours[150] = flip(hashes[3], bits), colours[3]
    assert near_duplicates(hashes, colours).tolist() == ([[3, 150]] if found else [])


def test_half_of_the_moments_are_enough_and_fewer_are_not():
    hashes, colours = random_clips(80)
    colours[:] = 100
    hashes[70] = hashes[5][[1, 1, 2, 2]]  # a part of clip 5
    hashes[71, 1:3] = hashes[6, 2:]  # begins and ends elsewhere than clip 6
    hashes[72, 0] = hashes[7, 0]  # no more than a title card in common
    assert near_duplicates(hashes, colours).tolist() == [[5, 70], [6, 71]]


def test_outlines_and_colours_must_fit_at_the_same_moment():
    hashes, colours = random_clips(2)
    hashes[1], colours[1] = hashes[0], colours[0]
    assert near_duplicates(hashes, colours).tolist() == [[0, 1]]
    colours[1] = colours[0].reshape(4, 27)[::-1].ravel()
    assert near_duplicates(hashes, colours).tolist() == []


def test_same_outlines_in_other_colours_are_another_clip():
    hashes, colours = random_clips(3)
    hashes[2], colours[2] = hashes[0], (colours[0] + 128) % 256
    assert near_duplicates(hashes, colours).tolist() == []


def test_a_black_beginning_is_no_likeness():
    draw = np.random.default_rng(0)
    one, other = (draw.integers(0, 256, (4, 3, 36, 64), np.uint8) for _ in range(2))
    one[:2], other[:2] = 0, 0
    prints = [fingerprint(frames) for frames in (one, other)]
    hashes, colours = hash_array([hashes for hashes, _ in prints]), np.array([colours for _, colours in prints])
    assert len(colours[0]) == NUM_FRAMES * 27 and colours.min() > 64
    assert near_duplicates(hashes, colours).tolist() == []


def test_fingerprints_of_an_earlier_version_are_not_used(tmp_path):
    old = {"path": "/a.mp4", "size_bytes": 1, "mtime_ns": 1, "hashes": ["00"] * 4, "colours": [0] * 27, "error": None}
    cache = put(tmp_path / "probes.jsonl", json.dumps(old) + "\n")
    assert read_cache(cache) == {}


def test_ten_thousand_hashes_survive_the_way_through_text():
    hashes, _ = random_clips(50)
    assert (hash_array([tuple(f"{value:016x}" for value in row) for row in hashes]) == hashes).all()


def test_reencoded_clips_are_near_and_others_are_not(tmp_path):
    paths = [put(tmp_path / f"{seed}.mp4", clip(seed)) for seed in range(6)]
    paths += [put(tmp_path / f"{seed}-near.mp4", clip(seed, near=True)) for seed in (1, 4)]
    facts = [probe_clip(str(path)) for path in paths]
    assert all(fact.error is None for fact in facts)
    pairs = near_duplicates(hash_array([fact.hashes for fact in facts]), np.array([fact.colours for fact in facts]))
    assert pairs.tolist() == [[1, 6], [4, 7]]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train/videos/a.mp4", "train"),
        ("1.Training/원천데이터/TS_시가지/a.mp4", "train"),
        ("2.Validation/라벨링데이터/a.json", "val"),
        ("data/VL_자연/a.json", "val"),
        ("VS1/a.mp4", "val"),
        ("3.Test/a.mp4", "val"),
        ("Training/val/a.mp4", "val"),
        ("videos/train.mp4", None),
        ("trainstation/a.mp4", None),
        ("value/TLS/a.mp4", None),
    ],
)
def test_given_split(path, split):
    assert given_split(path) == split


@settings(deadline=None, max_examples=60)
@given(
    sources=st.lists(st.sampled_from([None, "a", "b", "c", "d", "e"]), min_size=1, max_size=60),
    share=st.floats(0, 0.9),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_no_source_and_no_near_pair_is_in_both_splits(sources, share, seed, data):
    clips = st.integers(0, len(sources) - 1)
    pairs = np.array(data.draw(st.lists(st.tuples(clips, clips), max_size=8)), np.int64).reshape(-1, 2)
    groups = group_clips(len(sources), sources, pairs)
    splits = split_groups(groups, val_share=share, seed=seed)
    assert splits == split_groups(groups, val_share=share, seed=seed)
    for source in set(sources) - {None}:
        assert len({split for split, other in zip(splits, sources) if other == source}) == 1
    assert leaking(splits, pairs) == {}
    assert "train" in splits
    if share and len(set(groups)) > 1:
        assert "val" in splits


def test_val_gets_its_share():
    splits = split_groups(list(range(1000)), val_share=0.1, seed=3)
    assert splits.count("val") == 100
    assert splits != split_groups(list(range(1000)), val_share=0.1, seed=4)
