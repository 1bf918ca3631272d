//! Architectures in Candle, named as timm and torchvision name them.
