"""Writing shards: sources in, a data folder out; `writer.build` is the door."""
