"""The ContextAnyone model and its training: text and a reference image become a video.

The scripts (train.py, export.py, generate.py) and the training loop stand here, and may import
every package below; none of those imports what stands here:

    data  distributed  model     import none
    encoders                     data
    latents                      data, encoders
    measures                     distributed, model
    saving                       distributed
    sampling                     data, encoders, model, saving
"""
