"""A column of your own in the samples table."""

import pyarrow as pa

from schemas.tables import Sample


class WordCount:
    """How long the caption is, for a sampler that prefers long ones."""

    name = "caption_words"
    type = pa.int32()
    doc = "words of the caption"

    def value(self, sample: Sample) -> int:
        return len(sample.caption.split())
