"""The ContextAnyone model and its training: text and a reference image become a video."""
