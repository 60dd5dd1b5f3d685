"""What `speed.py` measures against, by subject: each module holds some rows of its table."""

import os

# The table is about the processor: an accelerator would stand in its header, idle.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
