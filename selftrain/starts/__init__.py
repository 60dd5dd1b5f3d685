"""Where a network's first weights come from.  Arms of one cell differ here and in nothing else.

A start is one of these words:

random            every weight follows from the seed
imagenet          the backbone's weights, of supervised training on ImageNet-1k alone: a file (--weights), an
                  installed package of weights, or timm's hub
imagenet++        the backbone's weights: timm's Noisy Student weights (EfficientNets), a file or the hub
timm:MODEL.TAG    the backbone's weights: those of this name on timm's hub, whatever made them, or a file
checkpoint:FILE   the whole network: a `final.pt` or `last.pt` that this package wrote

start.py      loads the weights of a start into a network, and tells two starts apart without loading them
imagenet_tags.py   which of timm's weights are of ImageNet-1k alone
timm_hub.py   which weights of timm's hub a start means, and whether the hub can be reached
files.py      reads tensors from a file, and fits their names and shapes to a network of timm
"""
