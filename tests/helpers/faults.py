"""Every fault that can be planted into a dataset."""

import planted_files
import planted_media
import planted_pairs
import planted_texts
from planted import FAULTS, Copy, Fault, plant, plant_together

__all__ = ["FAULTS", "KINDS", "Copy", "Fault", "plant", "plant_together"]
KINDS = (planted_files, planted_pairs, planted_texts, planted_media)
