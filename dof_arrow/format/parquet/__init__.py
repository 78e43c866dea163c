"""The bytes of a Parquet file: footer, pages, layout, proof, digests, row groups."""
