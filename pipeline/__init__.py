"""From raw videos to a dataset that is worth training on, and all that is done with one.

The rooms, in the order in which a video meets them; a room imports only rooms above it here:

    execution   what a stage is, processes and GPUs, progress      (schemas)
    media       containers and pictures, decoded and encoded       (execution)
    dataset     files on disk: store, units, shards, manifests     (execution)
    pictures    arithmetic on single pictures                      (media)
    engines     networks and classical vision, by task             (pictures)
    observing   one video: shots, clips, people, candidates        (engines, dataset)
    pairing     all videos: characters, references, captions       (observing)
    curation    the whole graph: settings, plan, versions          (pairing)
    audit  browse  forget  export  evaluate                        side by side, none inside another
"""
