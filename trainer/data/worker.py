"""What a process that makes batches needs; the fork server loads it once for all of them."""

import cv2

import trainer.data.latent_source
import trainer.data.sample_source  # noqa: F401

cv2.setNumThreads(1)  # a worker is one core
