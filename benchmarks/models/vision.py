"""Networks of images: ResNet-18 and -50, MobileNetV2, a small U-Net.

The first three are torchvision's, module by module, so that their ``state_dict`` keys are too; numbers are drawn from a
seed.
"""

from __future__ import annotations

from collections.abc import Sequence

from .framework import framework as wf
from .framework import nn


def _convolution(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around which the input is added."""

    expansion = 1

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(before, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = _convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(before, width, stride)

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        """``(N, before, H, W) -> (N, width, H / stride, W / stride)``."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, around which the input is added."""

    expansion = 4

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(before, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _convolution(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU()
        self.downsample = _downsample(before, 4 * width, stride)

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        """``(N, before, H, W) -> (N, 4 * width, H / stride, W / stride)``."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _downsample(before: int, after: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and before == after:
        return None
    return nn.Sequential(_convolution(before, after, 1, stride), nn.BatchNorm2d(after))


class ResNet(nn.Module):
    """He et al., Deep Residual Learning for Image Recognition, 2015. ``small``: for images of 32x32, whose first
    convolution is 3x3 and which are not pooled."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        classes: int = 1000,
        small: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 64, 3) if small else _convolution(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        before, made = 64, []
        for at, depth in enumerate(depths):
            blocks = []
            for number in range(depth):
                blocks.append(block(before, 64 << at, 2 if at > 0 and number == 0 else 1))
                before = block.expansion * (64 << at)
            made.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = made
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        """``(N, 3, H, W) -> (N, classes)``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def resnet18(classes: int = 1000, small: bool = False) -> ResNet:
    """11.7 million parameters, 1.8 billion multiply-adds for an image of 224x224."""
    return ResNet(BasicBlock, (2, 2, 2, 2), classes, small)


def resnet50(classes: int = 1000) -> ResNet:
    """25.6 million parameters, 4.1 billion multiply-adds for an image of 224x224."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes)


class ConvNormActivation(nn.Sequential):
    """A convolution, its normalization and ReLU6."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(_convolution(before, after, kernel, stride, groups), nn.BatchNorm2d(after), nn.ReLU6())


class InvertedResidual(nn.Module):
    """A depthwise 3x3 convolution of ``expand`` times as many channels, between two of 1x1."""

    def __init__(self, before: int, after: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = before * expand
        layers: list[nn.Module] = [ConvNormActivation(before, wide, 1)] if expand != 1 else []
        layers.append(ConvNormActivation(wide, wide, 3, stride, wide))
        layers += [_convolution(wide, after, 1), nn.BatchNorm2d(after)]
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and before == after

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        """``(N, before, H, W) -> (N, after, H / stride, W / stride)``."""
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        features: list[nn.Module] = [ConvNormActivation(3, 32, 3, 2)]
        before = 32
        for expand, after, depth, stride in (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ):
            for number in range(depth):
                features.append(InvertedResidual(before, after, stride if number == 0 else 1, expand))
                before = after
        features.append(ConvNormActivation(before, 1280, 1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        """``(N, 3, H, W) -> (N, classes)``."""
        return self.classifier(nn.functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


def mobilenet_v2(classes: int = 1000) -> MobileNetV2:
    """3.5 million parameters, 0.3 billion multiply-adds for an image of 224x224."""
    return MobileNetV2(classes)


class _Twice(nn.Sequential):
    def __init__(self, before: int, after: int) -> None:
        super().__init__(
            _convolution(before, after, 3),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            _convolution(after, after, 3),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        )


class UNet(nn.Module):
    """Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015; padded, and with
    ``width`` channels at the full size, twice as many at each of ``depth`` smaller ones."""

    def __init__(self, channels: int = 3, classes: int = 2, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        widths = [width << at for at in range(depth + 1)]
        self.first = _Twice(channels, width)
        self.down = nn.ModuleList([_Twice(a, 2 * a) for a in widths[:-1]])
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList([nn.ConvTranspose2d(2 * a, a, 2, 2) for a in widths[-2::-1]])
        self.merge = nn.ModuleList([_Twice(2 * a, a) for a in widths[-2::-1]])
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        """``(N, channels, H, W) -> (N, classes, H, W)``, where H and W are multiples of ``2 ** depth``."""
        x = self.first(x)
        kept = []
        for down in self.down:
            kept.append(x)
            x = down(self.pool(x))
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(wf.concat([kept.pop(), up(x)], axis=1))
        return self.last(x)
