"""The data: building, verifying and reading webdataset shards; the embedded data set."""
