"""Image networks in the sizes of the published experiments: of one local block, and of the global flow.

Local Flow Matching, arXiv 2410.02548, gives its 4 blocks together the parameters of the global flow it is
compared with: twice the channels make four times the parameters. The released code has dropout 0.1 besides.

>>> CIFAR10_BLOCK.widths, CIFAR10_GLOBAL.widths
((128, 256, 256, 256), (256, 512, 512, 512))
"""

from __future__ import annotations

from lfmkit.nets.unet import UNet

# millions of parameters: 35.7 and 142.9
CIFAR10_BLOCK = UNet((3, 32, 32), (128, 256, 256, 256), attention=(16,))
CIFAR10_GLOBAL = UNet((3, 32, 32), (256, 512, 512, 512), attention=(16,))

# 49.1 and 196.1
IMAGENET32_BLOCK = UNet((3, 32, 32), (128, 256, 256, 256), layers=3, attention=(16, 8))
IMAGENET32_GLOBAL = UNet((3, 32, 32), (256, 512, 512, 512), layers=3, attention=(16, 8))

# 116.3 and 465.0. The paper's 116 and 463 to 464 are known, its widths are not: these are our choice.
FLOWERS128_BLOCK = UNet((3, 128, 128), (128, 128, 256, 256, 512, 512), attention=(32, 16, 8))
FLOWERS128_GLOBAL = UNet((3, 128, 128), (256, 256, 512, 512, 1024, 1024), attention=(32, 16, 8))

# 21.4 and 85.6: the released code's
FLOWERS128_SMALL_BLOCK = UNet((3, 128, 128), (64, 64, 128, 192, 256), attention=(16,))
FLOWERS128_SMALL_GLOBAL = UNet((3, 128, 128), (128, 128, 256, 384, 512), attention=(16,))
