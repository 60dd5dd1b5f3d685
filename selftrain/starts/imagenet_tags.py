"""Which of timm's weights are of ImageNet-1k alone: the tags that the start `imagenet` may take.

It is a list of what is known to be so, and not of what is known to be otherwise: a tag that timm adds later
(or gives to a network as its default, such as DINOv3's to ConvNeXt) is refused until somebody has read how it
was made.  In are weights whose training was supervised, began with random weights, and saw the photos and
labels of ImageNet-1k and no others; a teacher that they are distilled from was itself made so.
"""

_FAMILIES = (
    # torchvision's two recipes, MXNet Gluon's, pycls's (RegNet): supervised, from random weights
    "tv_in1k tv2_in1k gluon_in1k pycls_in1k",
    # timm's recipes: RandAugment (ra to ra4), AugMix (am), ResNet strikes back (a1 to d2, and its kin with
    # other optimisers), gradient clipping (agc), LAMB, RMSProp, CutMix and MixUp, long schedules
    "ra_in1k ra2_in1k ra3_in1k ra4_e3600_r224_in1k ra4_e3600_r240_in1k ra4_e3600_r256_in1k",
    "ra4_e3600_r384_in1k ram_in1k racm_in1k am_in1k agc_in1k lamb_in1k rmsp_in1k bt_in1k",
    "a1_in1k a2_in1k a3_in1k a1h_in1k a2h_in1k ah_in1k b1k_in1k b2k_in1k c1_in1k c2_in1k c2ns_in1k c3_in1k",
    "ch_in1k d_in1k d1_in1k d1h_in1k d2_in1k rsb_a1_in1k sw_in1k sw_e450_in1k sw_e500_in1k",
    "sw_r448_e450_in1k sbb_in1k sbb_nadamuon_in1k e300_s576_in1k ft_in1k r160_in1k",
    # MobileNetV4 as timm trains it, by epochs and image size
    "e500_r224_in1k e500_r256_in1k e600_r384_in1k e1200_r224_in1k e2400_r224_in1k e3000_r224_in1k",
    "e3600_r256_in1k ix_e550_r256_in1k ix_e550_r384_in1k ix_e600_r384_in1k",
    # Google's EfficientNets: plain, with AutoAugment (aa), with adversarial examples of the same photos (ap);
    # Inception, Xception, NASNet, ResNet-RS (tf), NesT (goog); ViT from ImageNet-1k (augreg, sam)
    "in1k aa_in1k ap_in1k tf_in1k tf_adv_in1k tf_ens_adv_in1k goog_in1k augreg_in1k sam_in1k",
    # DeepMind's NFNets, Meta's ConvNeXt, DeiT, XCiT, Apple's MobileOne and FastViT, Microsoft's Swin, HRNet
    "dm_in1k fb_in1k deit_in1k apple_in1k ms_in1k ms_aug_in1k msft_in1k",
    # Naver (ReXNet, RDNet), Sea AI Lab (MetaFormers; VOLO by an annotator of ImageNet-1k alone), ByteDance
    "nav_in1k naver_in1k nv_in1k nv_in1k_ft_in1k_384 sail_in1k sail_in1k_384 bd_in1k bd_in1k_384",
    # RepVGG, GENet, MobileViT, TResNet, EfficientViT of MIT and of others by image size or epochs, PP-HGNet
    "rvgg_in1k idstcv_in1k cvnets_in1k miil_in1k miil_in1k_448 r224_in1k r256_in1k r288_in1k r320_in1k",
    "r384_in1k e300_in1k e450_in1k paddle_in1k",
    # distilled from RegNetY-16GF (DeiT, LeViT, XCiT, RepViT, FastViT, EfficientFormer, SwiftFormer), or from
    # their own larger kind (CaiT): teachers of ImageNet-1k alone
    "fb_dist_in1k fb_distilled_in1k dist_in1k dist_300e_in1k dist_450e_in1k apple_dist_in1k snap_dist_in1k",
)
# Out, though their names do not say so: mx (some DPNs saw ImageNet-5k), usi, ssld and goog_distilled
# (teachers
# of more than ImageNet-1k), 300ep to 1200ep (FlexiViT: a teacher of ImageNet-21k), in1k_ft_in1k (BEiT v2),
# and
# what was pre-trained without labels and fine-tuned with them (fcmae, mae, seer).
TAGS = frozenset(tag for family in _FAMILIES for tag in family.split())
"""the tags, which follow the dot in timm's model.tag"""
# Networks that bear a tag of the list and were distilled from teachers of more photos: PaddlePaddle's HRNet
# (SSLD) and GhostNetV3 (BEiT v2).  Of CPUBone timm does not say how it was trained.
_EXCEPTED = ("hrnet_w18_ssld", "hrnet_w48_ssld", "ghostnetv3_", "cpubone_")


def is_imagenet_alone(name: str) -> bool:
    """Whether timm's weights `name` (model.tag) were trained with labels, on ImageNet-1k and nothing else."""
    model, _, tag = name.partition(".")
    return tag in TAGS and not model.startswith(_EXCEPTED)
