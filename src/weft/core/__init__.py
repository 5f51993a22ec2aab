"""Core: dtypes, shapes and symbolic dims, errors, config. Everything else may import it; it imports nothing of weft."""
