"""From what people have (folders, tables, tar, Parquet) to packed sets: WebDataset shards and a manifest."""
