"""Which words of a prompt speak of whom, and where in a video each is."""

import pytest
import torch

from trainer.data.boxes import shares_of_boxes
from trainer.encoders.encode_batch import pool_subject
from trainer.encoders.mentions import clauses, mentions_of
from trainer.encoders.text import HashedWords


def words_of(prompt: str, names: list[str]) -> list[list[str]]:
    """Return the words that are found to speak of each."""
    encoder = HashedWords()
    [said] = mentions_of(encoder, [prompt], [[name] for name in names])
    words = [prompt[start:end] for start, end in encoder.token_spans(prompt)]
    return [[word for word, here in zip(words, row, strict=False) if here] for row in said]


def test_words_from_a_name_to_the_next_or_to_a_stop_speak_of_it():
    prompt = "Rain. Anna is in red, on the left. She and bob dance, while anna's hat falls."
    assert words_of(prompt, ["Anna", "Bob"]) == [
        ["Anna", "is", "in", "red", "on", "the", "left", "anna", "s", "hat", "falls"],
        ["bob", "dance", "while"],
    ]


def test_nobody_is_spoken_of_by_a_name_that_is_not_there_or_part_of_a_word():
    assert words_of("Annabel and Bobby.", ["Anna", "Bob", ""]) == [[], [], []]
    assert not mentions_of(HashedWords(), [""], [[""], [""]]).any()


def test_words_past_the_end_of_the_features_are_left_out():
    said = mentions_of(HashedWords(num_tokens=3), ["one two Anna goes far"], [["Anna"]])
    assert said.tolist() == [[[0, 0, 1]]]


def test_signs_of_a_name_are_no_pattern():
    assert clauses("Ann.a and D'Arcy sit", ["D'Arcy", "Ann.a"]) == [[(10, 20)], [(0, 10)]]


@pytest.mark.parametrize("stride", [8, 16])
def test_shares_of_boxes_are_what_drawing_and_pooling_them_gives(stride):
    source = torch.Generator().manual_seed(3)
    corners = torch.randint(0, 48, (2, 1, 5, 2, 2), generator=source).sort(3).values
    boxes = corners.flatten(3).float()  # (B, P, F, 4), xyxy
    drawn = torch.zeros(2, 5, 48, 64)
    for row in range(2):
        for frame in range(5):
            left, top, right, bottom = boxes[row, 0, frame].int().tolist()
            drawn[row, frame, top:bottom, left:right] = 1
    shares = shares_of_boxes(boxes, (48, 64), stride)
    torch.testing.assert_close(shares, pool_subject(drawn, stride), rtol=0, atol=1e-6)
