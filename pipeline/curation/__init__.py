"""The whole graph on one screen: settings, plan, run, release.

In: a list of videos and the settings. Out: the next version of a dataset. Imports `pairing` and
what that imports; whatever reads a dataset afterwards is above it or beside it.
"""
