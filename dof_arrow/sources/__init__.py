"""Where inputs lie: folders, tar, arrays, Parquet, tables, clips."""
