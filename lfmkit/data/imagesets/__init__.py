"""Sets of images: of the Hugging Face hub, in folders, in parquet files."""
