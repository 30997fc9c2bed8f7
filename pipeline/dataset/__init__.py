"""The dataset on disk: inputs, units, shards, versions, on any filesystem."""
