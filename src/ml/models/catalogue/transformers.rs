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

pub const TRANSFORMERS: &[Transformer] = &[
    Transformer {
        name: "vit_tiny_patch16_224",
        summary: "ViT-Ti/16",
        size: 224,
        network: TINY.patches(16),
        checkpoints: &[
            bicubic("augreg_in21k_ft_in1k", HALF, 0.9, 1000),
            bicubic("augreg_in21k", HALF, 0.9, 21843),
        ],
    },
    Transformer {
        name: "vit_tiny_patch16_384",
        summary: "ViT-Ti/16 at 384 pixels",
        size: 384,
        network: TINY.patches(16),
        checkpoints: &[bicubic("augreg_in21k_ft_in1k", HALF, 1.0, 1000)],
    },
    Transformer {
        name: "vit_small_patch8_224",
        summary: "ViT-S/8",
        size: 224,
        network: SMALL.patches(8),
        checkpoints: &[bicubic("dino", IMAGENET, 0.9, 0)],
    },
    Transformer {
        name: "vit_small_patch16_224",
        summary: "ViT-S/16",
        size: 224,
        network: SMALL.patches(16),
        checkpoints: &[
            bicubic("augreg_in21k_ft_in1k", HALF, 0.9, 1000),
            bicubic("augreg_in1k", HALF, 0.9, 1000),
            bicubic("augreg_in21k", HALF, 0.9, 21843),
            bicubic("dino", IMAGENET, 0.9, 0),
        ],
    },
    Transformer {
        name: "vit_small_patch16_384",
        summary: "ViT-S/16 at 384 pixels",
        size: 384,
        network: SMALL.patches(16),
        checkpoints: &[
            bicubic("augreg_in21k_ft_in1k", HALF, 1.0, 1000),
            bicubic("augreg_in1k", HALF, 1.0, 1000),
        ],
    },
    Transformer {
        name: "vit_small_patch32_224",
        summary: "ViT-S/32",
        size: 224,
        network: SMALL.patches(32),
        checkpoints: &[
            bicubic("augreg_in21k_ft_in1k", HALF, 0.9, 1000),
            bicubic("augreg_in21k", HALF, 0.9, 21843),
        ],
    },
    Transformer {
        name: "vit_small_patch32_384",
        summary: "ViT-S/32 at 384 pixels",
        size: 384,
        network: SMALL.patches(32),
        checkpoints: &[bicubic("augreg_in21k_ft_in1k", HALF, 1.0, 1000)],
    },
    Transformer {
        name: "vit_base_patch8_224",
        summary: "ViT-B/8",
        size: 224,
        network: BASE.patches(8),
        checkpoints: &[
            bicubic("augreg2_in21k_ft_in1k", HALF, 0.9, 1000),
            bicubic("augreg_in21k", HALF, 0.9, 21843),
            bicubic("augreg_in21k_ft_in1k", HALF, 0.9, 1000),
            bicubic("dino", IMAGENET, 0.9, 0),
        ],
    },
    Transformer {
        name: "vit_base_patch16_224",
        summary: "ViT-B/16",
        size: 224,
        network: BASE.patches(16),
        checkpoints: &[
            bicubic("augreg2_in21k_ft_in1k", HALF, 0.9, 1000),
            bicubic("augreg_in1k", HALF, 0.9, 1000),
            bicubic("augreg_in21k", HALF, 0.9, 21843),
            bicubic("augreg_in21k_ft_in1k", HALF, 0.9, 1000),
            bicubic("bamboo", CLIP, 1.0, 115217),
            bicubic("dino", IMAGENET, 0.9, 0),
            bicubic("mae", IMAGENET, 0.9, 0),
            bicubic("orig_in21k", HALF, 0.9, 0),
            bicubic("orig_in21k_ft_in1k", HALF, 0.9, 1000),
            bicubic("sam_in1k", HALF, 0.9, 1000),
        ],
    },
    Transformer {
        name: "vit_base_patch16_224_miil",
        summary: "ViT-B/16, no bias of queries, keys and values",
        size: 224,
        network: BASE.patches(16).without_qkv_bias(),
        checkpoints: &[
            bilinear("in21k", RAW, 0.875, 11221),
            bilinear("in21k_ft_in1k", RAW, 0.875, 1000),
        ],
    },
    Transformer {
        name: "vit_base_patch16_384",
        summary: "ViT-B/16 at 384 pixels",
        size: 384,
        network: BASE.patches(16),
        checkpoints: &[
            bicubic("augreg_in21k_ft_in1k", HALF, 1.0, 1000),
            bicubic("augreg_in1k", HALF, 1.0, 1000),
            bicubic("orig_in21k_ft_in1k", HALF, 1.0, 1000),
        ],
    },
    Transformer {
        name: "vit_base_patch32_224",
        summary: "ViT-B/32",
        size: 224,
        network: BASE.patches(32),
        checkpoints: &[
            bicubic("augreg_in21k_ft_in1k", HALF, 0.9, 1000),
            bicubic("augreg_in1k", HALF, 0.9, 1000),
            bicubic("augreg_in21k", HALF, 0.9, 21843),
            bicubic("orig_in21k", HALF, 0.9, 0),
            bicubic("sam_in1k", HALF, 0.9, 1000),
        ],
    },
    Transformer {
        name: "vit_base_patch32_384",
        summary: "ViT-B/32 at 384 pixels",
        size: 384,
        network: BASE.patches(32),
        checkpoints: &[
            bicubic("augreg_in21k_ft_in1k", HALF, 1.0, 1000),
            bicubic("augreg_in1k", HALF, 1.0, 1000),
        ],
    },
    Transformer {
        name: "vit_large_patch16_224",
        summary: "ViT-L/16",
        size: 224,
        network: LARGE.patches(16),
        checkpoints: &[
            bicubic("augreg_in21k_ft_in1k", HALF, 0.9, 1000),
            bicubic("augreg_in21k", HALF, 0.9, 21843),
            bicubic("mae", IMAGENET, 0.9, 0),
            bicubic("orig_in21k", HALF, 0.9, 0),
        ],
    },
    Transformer {
        name: "vit_large_patch16_384",
        summary: "ViT-L/16 at 384 pixels",
        size: 384,
        network: LARGE.patches(16),
        checkpoints: &[bicubic("augreg_in21k_ft_in1k", HALF, 1.0, 1000)],
    },
    Transformer {
        name: "vit_large_patch32_224",
        summary: "ViT-L/32",
        size: 224,
        network: LARGE.patches(32),
        checkpoints: &[bicubic("orig_in21k", HALF, 0.9, 0)],
    },
    Transformer {
        name: "vit_large_patch32_384",
        summary: "ViT-L/32 at 384 pixels",
        size: 384,
        network: LARGE.patches(32),
        checkpoints: &[bicubic("orig_in21k_ft_in1k", HALF, 1.0, 1000)],
    },
    Transformer {
        name: "vit_huge_patch14_224",
        summary: "ViT-H/14",
        size: 224,
        network: HUGE.patches(14),
        checkpoints: &[
            bicubic("orig_in21k", HALF, 0.9, 0),
            bicubic("mae", IMAGENET, 0.9, 0),
        ],
    },
    Transformer {
        name: "vit_xsmall_patch16_clip_224",
        summary: "ViT-256 wide/16 of CLIP",
        size: 224,
        network: vit(256, 10, 4, 1024).patches(16).clip(),
        checkpoints: &[bicubic("tinyclip_yfcc15m", CLIP, 0.9, 512)],
    },
    Transformer {
        name: "vit_medium_patch16_clip_224",
        summary: "ViT-512 wide/16 of CLIP",
        size: 224,
        network: vit(512, 12, 8, 2048).patches(16).clip(),
        checkpoints: &[bicubic("tinyclip_yfcc15m", CLIP, 0.9, 512)],
    },
    Transformer {
        name: "vit_medium_patch32_clip_224",
        summary: "ViT-512 wide/32 of CLIP",
        size: 224,
        network: vit(512, 12, 8, 2048).patches(32).clip(),
        checkpoints: &[bicubic("tinyclip_laion400m", CLIP, 0.9, 512)],
    },
    Transformer {
        name: "vit_betwixt_patch32_clip_224",
        summary: "ViT-640 wide/32 of CLIP",
        size: 224,
        network: vit(640, 12, 10, 2560).patches(32).clip(),
        checkpoints: &[bicubic("tinyclip_laion400m", CLIP, 0.9, 512)],
    },
    Transformer {
        name: "vit_base_patch16_clip_224",
        summary: "ViT-B/16 of CLIP",
        size: 224,
        network: BASE.patches(16).clip(),
        checkpoints: &[
            bicubic("laion2b_ft_in12k_in1k", CLIP, 0.95, 1000),
            bicubic("datacompxl", CLIP, 1.0, 512),
            bicubic("dfn2b", CLIP, 1.0, 512),
            bicubic("laion2b", CLIP, 1.0, 512),
            bicubic("laion2b_ft_in12k", CLIP, 0.9, 11821),
            bicubic("laion2b_ft_in1k", CLIP, 1.0, 1000),
            bicubic("laion400m_e32", CLIP, 1.0, 512),
            bicubic("metaclip_2pt5b", CLIP, 1.0, 512),
            bicubic("metaclip_400m", CLIP, 1.0, 512),
            bicubic("openai", CLIP, 0.9, 512),
            bicubic("openai_ft_in12k", CLIP, 0.9, 11821),
            bicubic("openai_ft_in12k_in1k", CLIP, 0.95, 1000),
            bicubic("openai_ft_in1k", CLIP, 0.9, 1000),
        ],
    },
    Transformer {
        name: "vit_base_patch16_clip_384",
        summary: "ViT-B/16 of CLIP at 384 pixels",
        size: 384,
        network: BASE.patches(16).clip(),
        checkpoints: &[
            bicubic("laion2b_ft_in12k_in1k", CLIP, 1.0, 1000),
            bicubic("laion2b_ft_in1k", CLIP, 1.0, 1000),
            bicubic("openai_ft_in12k_in1k", CLIP, 0.95, 1000),
            bicubic("openai_ft_in1k", CLIP, 1.0, 1000),
        ],
    },
    Transformer {
        name: "vit_base_patch16_clip_quickgelu_224",
        summary: "ViT-B/16 of CLIP, quick GELU",
        size: 224,
        network: BASE.patches(16).clip().quick(),
        checkpoints: &[
            bicubic("metaclip_2pt5b", CLIP, 1.0, 512),
            bicubic("metaclip_400m", CLIP, 1.0, 512),
            bicubic("openai", CLIP, 0.9, 512),
        ],
    },
    Transformer {
        name: "vit_base_patch16_plus_clip_240",
        summary: "ViT-896 wide/16 of CLIP at 240 pixels",
        size: 240,
        network: vit(896, 12, 14, 3584).patches(16).clip(),
        checkpoints: &[bicubic("laion400m_e32", CLIP, 1.0, 640)],
    },
    Transformer {
        name: "vit_base_patch32_clip_224",
        summary: "ViT-B/32 of CLIP",
        size: 224,
        network: BASE.patches(32).clip(),
        checkpoints: &[
            bicubic("laion2b_ft_in12k_in1k", CLIP, 0.9, 1000),
            bicubic("datacompxl", CLIP, 1.0, 512),
            bicubic("laion2b", CLIP, 0.9, 512),
            bicubic("laion2b_ft_in1k", CLIP, 0.9, 1000),
            bicubic("laion400m_e32", CLIP, 0.9, 512),
            bicubic("metaclip_2pt5b", CLIP, 1.0, 512),
            bicubic("metaclip_400m", CLIP, 1.0, 512),
            bicubic("openai", CLIP, 0.9, 512),
            bicubic("openai_ft_in1k", CLIP, 0.9, 1000),
        ],
    },
    Transformer {
        name: "vit_base_patch32_clip_256",
        summary: "ViT-B/32 of CLIP at 256 pixels",
        size: 256,
        network: BASE.patches(32).clip(),
        checkpoints: &[bicubic("datacompxl", CLIP, 1.0, 512)],
    },
    Transformer {
        name: "vit_base_patch32_clip_384",
        summary: "ViT-B/32 of CLIP at 384 pixels",
        size: 384,
        network: BASE.patches(32).clip(),
        checkpoints: &[
            bicubic("laion2b_ft_in12k_in1k", CLIP, 1.0, 1000),
            bicubic("openai_ft_in12k_in1k", CLIP, 0.95, 1000),
        ],
    },
    Transformer {
        name: "vit_base_patch32_clip_448",
        summary: "ViT-B/32 of CLIP at 448 pixels",
        size: 448,
        network: BASE.patches(32).clip(),
        checkpoints: &[bicubic("laion2b_ft_in12k_in1k", CLIP, 1.0, 1000)],
    },
    Transformer {
        name: "vit_base_patch32_clip_quickgelu_224",
        summary: "ViT-B/32 of CLIP, quick GELU",
        size: 224,
        network: BASE.patches(32).clip().quick(),
        checkpoints: &[
            bicubic("laion400m_e32", CLIP, 0.9, 512),
            bicubic("metaclip_2pt5b", CLIP, 1.0, 512),
            bicubic("metaclip_400m", CLIP, 1.0, 512),
            bicubic("openai", CLIP, 0.9, 512),
        ],
    },
    Transformer {
        name: "vit_large_patch14_clip_224",
        summary: "ViT-L/14 of CLIP",
        size: 224,
        network: LARGE.patches(14).clip(),
        checkpoints: &[
            bicubic("laion2b_ft_in12k_in1k", HALF, 1.0, 1000),
            bicubic("apple_mclip2_dfndr2b", CLIP, 1.0, 768),
            bicubic("datacompxl", CLIP, 1.0, 768),
            bicubic("dfn2b", CLIP, 1.0, 768),
            bicubic("dfn2b_s39b", CLIP, 1.0, 768),
            bicubic("laion2b", HALF, 1.0, 768),
            bicubic("laion2b_ft_in12k", HALF, 1.0, 11821),
            bicubic("laion2b_ft_in1k", HALF, 1.0, 1000),
            bicubic("laion400m_e32", CLIP, 1.0, 768),
            bicubic("metaclip_2pt5b", CLIP, 1.0, 768),
            bicubic("metaclip_400m", CLIP, 1.0, 768),
            bicubic("openai", CLIP, 1.0, 768),
            bicubic("openai_ft_in12k", CLIP, 1.0, 11821),
            bicubic("openai_ft_in12k_in1k", CLIP, 1.0, 1000),
            bicubic("openai_ft_in1k", CLIP, 1.0, 1000),
        ],
    },
    Transformer {
        name: "vit_large_patch14_clip_336",
        summary: "ViT-L/14 of CLIP at 336 pixels",
        size: 336,
        network: LARGE.patches(14).clip(),
        checkpoints: &[
            bicubic("laion2b_ft_in12k_in1k", HALF, 1.0, 1000),
            bicubic("laion2b_ft_in1k", HALF, 1.0, 1000),
            bicubic("openai", CLIP, 1.0, 768),
            bicubic("openai_ft_in12k_in1k", CLIP, 1.0, 1000),
        ],
    },
    Transformer {
        name: "vit_large_patch14_clip_quickgelu_224",
        summary: "ViT-L/14 of CLIP, quick GELU",
        size: 224,
        network: LARGE.patches(14).clip().quick(),
        checkpoints: &[
            bicubic("dfn2b", CLIP, 1.0, 768),
            bicubic("metaclip_2pt5b", CLIP, 1.0, 768),
            bicubic("metaclip_400m", CLIP, 1.0, 768),
            bicubic("openai", CLIP, 1.0, 768),
        ],
    },
    Transformer {
        name: "vit_large_patch14_clip_quickgelu_336",
        summary: "ViT-L/14 of CLIP at 336 pixels, quick GELU",
        size: 336,
        network: LARGE.patches(14).clip().quick(),
        checkpoints: &[bicubic("openai", CLIP, 1.0, 768)],
    },
    Transformer {
        name: "vit_huge_patch14_clip_224",
        summary: "ViT-H/14 of CLIP",
        size: 224,
        network: HUGE.patches(14).clip(),
        checkpoints: &[
            bicubic("laion2b_ft_in12k_in1k", CLIP, 1.0, 1000),
            bicubic("dfn5b", CLIP, 1.0, 1024),
            bicubic("laion2b", CLIP, 1.0, 1024),
            bicubic("laion2b_ft_in12k", CLIP, 1.0, 11821),
            bicubic("laion2b_ft_in1k", CLIP, 1.0, 1000),
            bicubic("metaclip2_worldwide", CLIP, 1.0, 1024),
            bicubic("metaclip_2pt5b", CLIP, 1.0, 1024),
            bicubic("metaclip_altogether", CLIP, 1.0, 1024),
        ],
    },
    Transformer {
        name: "vit_huge_patch14_clip_336",
        summary: "ViT-H/14 of CLIP at 336 pixels",
        size: 336,
        network: HUGE.patches(14).clip(),
        checkpoints: &[bicubic("laion2b_ft_in12k_in1k", CLIP, 1.0, 1000)],
    },
    Transformer {
        name: "vit_huge_patch14_clip_378",
        summary: "ViT-H/14 of CLIP at 378 pixels",
        size: 378,
        network: HUGE.patches(14).clip(),
        checkpoints: &[
            bicubic("dfn5b", CLIP, 1.0, 1024),
            bicubic("metaclip2_worldwide", CLIP, 1.0, 1024),
        ],
    },
    Transformer {
        name: "vit_huge_patch14_clip_quickgelu_224",
        summary: "ViT-H/14 of CLIP, quick GELU",
        size: 224,
        network: HUGE.patches(14).clip().quick(),
        checkpoints: &[
            bicubic("dfn5b", CLIP, 1.0, 1024),
            bicubic("metaclip2_worldwide", CLIP, 1.0, 1024),
            bicubic("metaclip_2pt5b", CLIP, 1.0, 1024),
        ],
    },
    Transformer {
        name: "vit_huge_patch14_clip_quickgelu_378",
        summary: "ViT-H/14 of CLIP at 378 pixels, quick GELU",
        size: 378,
        network: HUGE.patches(14).clip().quick(),
        checkpoints: &[bicubic("dfn5b", CLIP, 1.0, 1024)],
    },
    Transformer {
        name: "vit_giant_patch14_clip_224",
        summary: "ViT-g/14 of CLIP",
        size: 224,
        network: vit(1408, 40, 16, 6144).patches(14).clip(),
        checkpoints: &[bicubic("laion2b", CLIP, 1.0, 1024)],
    },
    Transformer {
        name: "vit_gigantic_patch14_clip_224",
        summary: "ViT-G/14 of CLIP",
        size: 224,
        network: vit(1664, 48, 16, 8192).patches(14).clip(),
        checkpoints: &[
            bicubic("laion2b", CLIP, 1.0, 1280),
            bicubic("metaclip2_worldwide", CLIP, 1.0, 1280),
            bicubic("metaclip_2pt5b", CLIP, 1.0, 1280),
        ],
    },
    Transformer {
        name: "vit_gigantic_patch14_clip_378",
        summary: "ViT-G/14 of CLIP at 378 pixels",
        size: 378,
        network: vit(1664, 48, 16, 8192).patches(14).clip(),
        checkpoints: &[bicubic("metaclip2_worldwide", CLIP, 1.0, 1280)],
    },
    Transformer {
        name: "vit_gigantic_patch14_clip_quickgelu_224",
        summary: "ViT-G/14 of CLIP, quick GELU",
        size: 224,
        network: vit(1664, 48, 16, 8192).patches(14).clip().quick(),
        checkpoints: &[bicubic("metaclip_2pt5b", CLIP, 1.0, 1280)],
    },
];
