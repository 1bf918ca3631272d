//! The vision transformers of timm 1.0: all plain ones (class token, learned positions, one linear
//! classifier), with the checkpoints that timm publishes. The first checkpoint of a list is timm's
//! default.

use super::{CLIP, Checkpoint, HALF, IMAGENET, RAW, bicubic, bilinear};
use crate::models::{Vit, VitStart};

/// A transformer and its published checkpoints.
pub struct Transformer {
    pub name: &'static str,
    pub summary: &'static str,
    /// Pixels on a side of the images.
    pub size: usize,
    pub network: Vit,
    pub checkpoints: &'static [Checkpoint],
}

const TINY: Vit = vit(192, 12, 3, 768);
const SMALL: Vit = vit(384, 12, 6, 1536);
const BASE: Vit = vit(768, 12, 12, 3072);
const LARGE: Vit = vit(1024, 24, 16, 4096);
const HUGE: Vit = vit(1280, 32, 16, 5120);

/// timm's defaults: exact GELU, all biases.
pub(super) const fn vit(width: usize, depth: usize, heads: usize, hidden: usize) -> Vit {
    Vit {
        patch: 16,
        width,
        depth,
        heads,
        hidden,
        norm_eps: 1e-6,
        norm_pre: false,
        patch_bias: true,
        qkv_bias: true,
        quick_gelu: false,
        start: VitStart::Normal,
    }
}

impl Vit {
    pub(super) const fn patches(self, patch: usize) -> Self {
        Self { patch, ..self }
    }

    /// CLIP's image encoder (Radford et al. 2021): a norm before the blocks, no bias in the patch
    /// embedding.
    const fn clip(self) -> Self {
        Self {
            norm_eps: 1e-5,
            norm_pre: true,
            patch_bias: false,
            ..self
        }
    }

    /// The GELU approximation that CLIP was trained with.
    const fn quick(self) -> Self {
        Self {
            quick_gelu: true,
            ..self
        }
    }

    const fn without_qkv_bias(self) -> Self {
        Self {
            qkv_bias: false,
            ..self
        }
    }
}

/// One row for each architecture, `name: summary, pixels, network`, followed by one row for each of
/// its checkpoints, `"tag" interpolation colours crop outputs`.
macro_rules! transformers {
    ($($name:ident: $summary:literal, $size:literal px, $network:expr;
        $($tag:literal $interpolation:ident $colours:ident $crop:literal $outputs:literal;)+
    )+) => {
        pub const TRANSFORMERS: &[Transformer] = &[$(Transformer {
            name: stringify!($name),
            summary: $summary,
            size: $size,
            network: $network,
            checkpoints: &[$($interpolation($tag, $colours, $crop, $outputs)),+],
        }),+];
    };
}

transformers! {
    vit_tiny_patch16_224: "ViT-Ti/16", 224 px, TINY.patches(16);
        "augreg_in21k_ft_in1k" bicubic HALF 0.9 1000;
        "augreg_in21k" bicubic HALF 0.9 21843;
    vit_tiny_patch16_384: "ViT-Ti/16 at 384 pixels", 384 px, TINY.patches(16);
        "augreg_in21k_ft_in1k" bicubic HALF 1.0 1000;
    vit_small_patch8_224: "ViT-S/8", 224 px, SMALL.patches(8);
        "dino" bicubic IMAGENET 0.9 0;
    vit_small_patch16_224: "ViT-S/16", 224 px, SMALL.patches(16);
        "augreg_in21k_ft_in1k" bicubic HALF 0.9 1000;
        "augreg_in1k" bicubic HALF 0.9 1000;
        "augreg_in21k" bicubic HALF 0.9 21843;
        "dino" bicubic IMAGENET 0.9 0;
    vit_small_patch16_384: "ViT-S/16 at 384 pixels", 384 px, SMALL.patches(16);
        "augreg_in21k_ft_in1k" bicubic HALF 1.0 1000;
        "augreg_in1k" bicubic HALF 1.0 1000;
    vit_small_patch32_224: "ViT-S/32", 224 px, SMALL.patches(32);
        "augreg_in21k_ft_in1k" bicubic HALF 0.9 1000;
        "augreg_in21k" bicubic HALF 0.9 21843;
    vit_small_patch32_384: "ViT-S/32 at 384 pixels", 384 px, SMALL.patches(32);
        "augreg_in21k_ft_in1k" bicubic HALF 1.0 1000;
    vit_base_patch8_224: "ViT-B/8", 224 px, BASE.patches(8);
        "augreg2_in21k_ft_in1k" bicubic HALF 0.9 1000;
        "augreg_in21k" bicubic HALF 0.9 21843;
        "augreg_in21k_ft_in1k" bicubic HALF 0.9 1000;
        "dino" bicubic IMAGENET 0.9 0;
    vit_base_patch16_224: "ViT-B/16", 224 px, BASE.patches(16);
        "augreg2_in21k_ft_in1k" bicubic HALF 0.9 1000;
        "augreg_in1k" bicubic HALF 0.9 1000;
        "augreg_in21k" bicubic HALF 0.9 21843;
        "augreg_in21k_ft_in1k" bicubic HALF 0.9 1000;
        "bamboo" bicubic CLIP 1.0 115217;
        "dino" bicubic IMAGENET 0.9 0;
        "mae" bicubic IMAGENET 0.9 0;
        "orig_in21k" bicubic HALF 0.9 0;
        "orig_in21k_ft_in1k" bicubic HALF 0.9 1000;
        "sam_in1k" bicubic HALF 0.9 1000;
    vit_base_patch16_224_miil: "ViT-B/16, no bias of queries, keys and values", 224 px, BASE.patches(16).without_qkv_bias();
        "in21k" bilinear RAW 0.875 11221;
        "in21k_ft_in1k" bilinear RAW 0.875 1000;
    vit_base_patch16_384: "ViT-B/16 at 384 pixels", 384 px, BASE.patches(16);
        "augreg_in21k_ft_in1k" bicubic HALF 1.0 1000;
        "augreg_in1k" bicubic HALF 1.0 1000;
        "orig_in21k_ft_in1k" bicubic HALF 1.0 1000;
    vit_base_patch32_224: "ViT-B/32", 224 px, BASE.patches(32);
        "augreg_in21k_ft_in1k" bicubic HALF 0.9 1000;
        "augreg_in1k" bicubic HALF 0.9 1000;
        "augreg_in21k" bicubic HALF 0.9 21843;
        "orig_in21k" bicubic HALF 0.9 0;
        "sam_in1k" bicubic HALF 0.9 1000;
    vit_base_patch32_384: "ViT-B/32 at 384 pixels", 384 px, BASE.patches(32);
        "augreg_in21k_ft_in1k" bicubic HALF 1.0 1000;
        "augreg_in1k" bicubic HALF 1.0 1000;
    vit_large_patch16_224: "ViT-L/16", 224 px, LARGE.patches(16);
        "augreg_in21k_ft_in1k" bicubic HALF 0.9 1000;
        "augreg_in21k" bicubic HALF 0.9 21843;
        "mae" bicubic IMAGENET 0.9 0;
        "orig_in21k" bicubic HALF 0.9 0;
    vit_large_patch16_384: "ViT-L/16 at 384 pixels", 384 px, LARGE.patches(16);
        "augreg_in21k_ft_in1k" bicubic HALF 1.0 1000;
    vit_large_patch32_224: "ViT-L/32", 224 px, LARGE.patches(32);
        "orig_in21k" bicubic HALF 0.9 0;
    vit_large_patch32_384: "ViT-L/32 at 384 pixels", 384 px, LARGE.patches(32);
        "orig_in21k_ft_in1k" bicubic HALF 1.0 1000;
    vit_huge_patch14_224: "ViT-H/14", 224 px, HUGE.patches(14);
        "orig_in21k" bicubic HALF 0.9 0;
        "mae" bicubic IMAGENET 0.9 0;
    vit_xsmall_patch16_clip_224: "ViT-256 wide/16 of CLIP", 224 px, vit(256, 10, 4, 1024).patches(16).clip();
        "tinyclip_yfcc15m" bicubic CLIP 0.9 512;
    vit_medium_patch16_clip_224: "ViT-512 wide/16 of CLIP", 224 px, vit(512, 12, 8, 2048).patches(16).clip();
        "tinyclip_yfcc15m" bicubic CLIP 0.9 512;
    vit_medium_patch32_clip_224: "ViT-512 wide/32 of CLIP", 224 px, vit(512, 12, 8, 2048).patches(32).clip();
        "tinyclip_laion400m" bicubic CLIP 0.9 512;
    vit_betwixt_patch32_clip_224: "ViT-640 wide/32 of CLIP", 224 px, vit(640, 12, 10, 2560).patches(32).clip();
        "tinyclip_laion400m" bicubic CLIP 0.9 512;
    vit_base_patch16_clip_224: "ViT-B/16 of CLIP", 224 px, BASE.patches(16).clip();
        "laion2b_ft_in12k_in1k" bicubic CLIP 0.95 1000;
        "datacompxl" bicubic CLIP 1.0 512;
        "dfn2b" bicubic CLIP 1.0 512;
        "laion2b" bicubic CLIP 1.0 512;
        "laion2b_ft_in12k" bicubic CLIP 0.9 11821;
        "laion2b_ft_in1k" bicubic CLIP 1.0 1000;
        "laion400m_e32" bicubic CLIP 1.0 512;
        "metaclip_2pt5b" bicubic CLIP 1.0 512;
        "metaclip_400m" bicubic CLIP 1.0 512;
        "openai" bicubic CLIP 0.9 512;
        "openai_ft_in12k" bicubic CLIP 0.9 11821;
        "openai_ft_in12k_in1k" bicubic CLIP 0.95 1000;
        "openai_ft_in1k" bicubic CLIP 0.9 1000;
    vit_base_patch16_clip_384: "ViT-B/16 of CLIP at 384 pixels", 384 px, BASE.patches(16).clip();
        "laion2b_ft_in12k_in1k" bicubic CLIP 1.0 1000;
        "laion2b_ft_in1k" bicubic CLIP 1.0 1000;
        "openai_ft_in12k_in1k" bicubic CLIP 0.95 1000;
        "openai_ft_in1k" bicubic CLIP 1.0 1000;
    vit_base_patch16_clip_quickgelu_224: "ViT-B/16 of CLIP, quick GELU", 224 px, BASE.patches(16).clip().quick();
        "metaclip_2pt5b" bicubic CLIP 1.0 512;
        "metaclip_400m" bicubic CLIP 1.0 512;
        "openai" bicubic CLIP 0.9 512;
    vit_base_patch16_plus_clip_240: "ViT-896 wide/16 of CLIP at 240 pixels", 240 px, vit(896, 12, 14, 3584).patches(16).clip();
        "laion400m_e32" bicubic CLIP 1.0 640;
    vit_base_patch32_clip_224: "ViT-B/32 of CLIP", 224 px, BASE.patches(32).clip();
        "laion2b_ft_in12k_in1k" bicubic CLIP 0.9 1000;
        "datacompxl" bicubic CLIP 1.0 512;
        "laion2b" bicubic CLIP 0.9 512;
        "laion2b_ft_in1k" bicubic CLIP 0.9 1000;
        "laion400m_e32" bicubic CLIP 0.9 512;
        "metaclip_2pt5b" bicubic CLIP 1.0 512;
        "metaclip_400m" bicubic CLIP 1.0 512;
        "openai" bicubic CLIP 0.9 512;
        "openai_ft_in1k" bicubic CLIP 0.9 1000;
    vit_base_patch32_clip_256: "ViT-B/32 of CLIP at 256 pixels", 256 px, BASE.patches(32).clip();
        "datacompxl" bicubic CLIP 1.0 512;
    vit_base_patch32_clip_384: "ViT-B/32 of CLIP at 384 pixels", 384 px, BASE.patches(32).clip();
        "laion2b_ft_in12k_in1k" bicubic CLIP 1.0 1000;
        "openai_ft_in12k_in1k" bicubic CLIP 0.95 1000;
    vit_base_patch32_clip_448: "ViT-B/32 of CLIP at 448 pixels", 448 px, BASE.patches(32).clip();
        "laion2b_ft_in12k_in1k" bicubic CLIP 1.0 1000;
    vit_base_patch32_clip_quickgelu_224: "ViT-B/32 of CLIP, quick GELU", 224 px, BASE.patches(32).clip().quick();
        "laion400m_e32" bicubic CLIP 0.9 512;
        "metaclip_2pt5b" bicubic CLIP 1.0 512;
        "metaclip_400m" bicubic CLIP 1.0 512;
        "openai" bicubic CLIP 0.9 512;
    vit_large_patch14_clip_224: "ViT-L/14 of CLIP", 224 px, LARGE.patches(14).clip();
        "laion2b_ft_in12k_in1k" bicubic HALF 1.0 1000;
        "apple_mclip2_dfndr2b" bicubic CLIP 1.0 768;
        "datacompxl" bicubic CLIP 1.0 768;
        "dfn2b" bicubic CLIP 1.0 768;
        "dfn2b_s39b" bicubic CLIP 1.0 768;
        "laion2b" bicubic HALF 1.0 768;
        "laion2b_ft_in12k" bicubic HALF 1.0 11821;
        "laion2b_ft_in1k" bicubic HALF 1.0 1000;
        "laion400m_e32" bicubic CLIP 1.0 768;
        "metaclip_2pt5b" bicubic CLIP 1.0 768;
        "metaclip_400m" bicubic CLIP 1.0 768;
        "openai" bicubic CLIP 1.0 768;
        "openai_ft_in12k" bicubic CLIP 1.0 11821;
        "openai_ft_in12k_in1k" bicubic CLIP 1.0 1000;
        "openai_ft_in1k" bicubic CLIP 1.0 1000;
    vit_large_patch14_clip_336: "ViT-L/14 of CLIP at 336 pixels", 336 px, LARGE.patches(14).clip();
        "laion2b_ft_in12k_in1k" bicubic HALF 1.0 1000;
        "laion2b_ft_in1k" bicubic HALF 1.0 1000;
        "openai" bicubic CLIP 1.0 768;
        "openai_ft_in12k_in1k" bicubic CLIP 1.0 1000;
    vit_large_patch14_clip_quickgelu_224: "ViT-L/14 of CLIP, quick GELU", 224 px, LARGE.patches(14).clip().quick();
        "dfn2b" bicubic CLIP 1.0 768;
        "metaclip_2pt5b" bicubic CLIP 1.0 768;
        "metaclip_400m" bicubic CLIP 1.0 768;
        "openai" bicubic CLIP 1.0 768;
    vit_large_patch14_clip_quickgelu_336: "ViT-L/14 of CLIP at 336 pixels, quick GELU", 336 px, LARGE.patches(14).clip().quick();
        "openai" bicubic CLIP 1.0 768;
    vit_huge_patch14_clip_224: "ViT-H/14 of CLIP", 224 px, HUGE.patches(14).clip();
        "laion2b_ft_in12k_in1k" bicubic CLIP 1.0 1000;
        "dfn5b" bicubic CLIP 1.0 1024;
        "laion2b" bicubic CLIP 1.0 1024;
        "laion2b_ft_in12k" bicubic CLIP 1.0 11821;
        "laion2b_ft_in1k" bicubic CLIP 1.0 1000;
        "metaclip2_worldwide" bicubic CLIP 1.0 1024;
        "metaclip_2pt5b" bicubic CLIP 1.0 1024;
        "metaclip_altogether" bicubic CLIP 1.0 1024;
    vit_huge_patch14_clip_336: "ViT-H/14 of CLIP at 336 pixels", 336 px, HUGE.patches(14).clip();
        "laion2b_ft_in12k_in1k" bicubic CLIP 1.0 1000;
    vit_huge_patch14_clip_378: "ViT-H/14 of CLIP at 378 pixels", 378 px, HUGE.patches(14).clip();
        "dfn5b" bicubic CLIP 1.0 1024;
        "metaclip2_worldwide" bicubic CLIP 1.0 1024;
    vit_huge_patch14_clip_quickgelu_224: "ViT-H/14 of CLIP, quick GELU", 224 px, HUGE.patches(14).clip().quick();
        "dfn5b" bicubic CLIP 1.0 1024;
        "metaclip2_worldwide" bicubic CLIP 1.0 1024;
        "metaclip_2pt5b" bicubic CLIP 1.0 1024;
    vit_huge_patch14_clip_quickgelu_378: "ViT-H/14 of CLIP at 378 pixels, quick GELU", 378 px, HUGE.patches(14).clip().quick();
        "dfn5b" bicubic CLIP 1.0 1024;
    vit_giant_patch14_clip_224: "ViT-g/14 of CLIP", 224 px, vit(1408, 40, 16, 6144).patches(14).clip();
        "laion2b" bicubic CLIP 1.0 1024;
    vit_gigantic_patch14_clip_224: "ViT-G/14 of CLIP", 224 px, vit(1664, 48, 16, 8192).patches(14).clip();
        "laion2b" bicubic CLIP 1.0 1280;
        "metaclip2_worldwide" bicubic CLIP 1.0 1280;
        "metaclip_2pt5b" bicubic CLIP 1.0 1280;
    vit_gigantic_patch14_clip_378: "ViT-G/14 of CLIP at 378 pixels", 378 px, vit(1664, 48, 16, 8192).patches(14).clip();
        "metaclip2_worldwide" bicubic CLIP 1.0 1280;
    vit_gigantic_patch14_clip_quickgelu_224: "ViT-G/14 of CLIP, quick GELU", 224 px, vit(1664, 48, 16, 8192).patches(14).clip().quick();
        "metaclip_2pt5b" bicubic CLIP 1.0 1280;
}
