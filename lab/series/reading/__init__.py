"""Files as columns: csv, Parquet and frames; numbers and dates as people write them."""
