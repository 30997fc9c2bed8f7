"""Turn a prompt and pictures of a character into a video.

In: an exported model, or one in training. Out: frames, video files, picture strips. Imports `data`
(how a reference is set into its picture), `encoders`, `model` and `saving`.
"""
