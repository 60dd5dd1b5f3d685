"""One folder for each task; `protocol.py` says what a task is, `selftrain/registry.py` lists them."""
