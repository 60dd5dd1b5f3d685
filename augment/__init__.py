"""The augmentation policies Augment-S1 to S4 of Zoph et al. 2020.

>>> policy = build_policy("S4", 640)
>>> augmented = policy(sample, seed=17)      # a pure function of (sample, seed)
>>> resized, scale = fit(sample, 640)        # evaluation: no randomness

`python -m augment.show PHOTO --out sheet.png` draws what the policies do.
"""

import os

# At import albumentations asks the network for a newer version unless this is set beforehand.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from augment.geometry import fit  # noqa: E402
from augment.policies import POLICIES, build_policy  # noqa: E402
from augment.sample import Sample  # noqa: E402

__all__ = ["POLICIES", "Sample", "build_policy", "fit"]
