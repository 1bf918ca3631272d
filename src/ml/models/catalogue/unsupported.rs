//! Networks that are not in the catalogue, and what they have that no network here has.

/// Parts of names, as timm and the hub have them, and what such networks need. The first that
/// a name contains counts.
const FAMILIES: &[(&str, &str)] = &[
    (
        "convnextv2",
        "depthwise convolutions and global response normalisation",
    ),
    ("convnext", "depthwise convolutions and layer scale"),
    (
        "dinov3",
        "rotary position embeddings, layer scale and register tokens",
    ),
    (
        "giant_patch14_reg4_dinov2",
        "layer scale, register tokens and SwiGLU perceptrons",
    ),
    ("giant_patch14_dinov2", "layer scale and SwiGLU perceptrons"),
    ("reg4_dinov2", "layer scale and register tokens"),
    (
        "dinov2",
        "layer scale and, in those with registers, register tokens",
    ),
    (
        "deit3",
        "layer scale, and positions without one for the class token",
    ),
    ("distilled", "a distillation token"),
    ("beit", "relative position biases and layer scale"),
    ("eva02", "rotary position embeddings and SwiGLU perceptrons"),
    ("siglip", "attention pooling"),
    (
        "swin",
        "attention in windows, with relative position biases",
    ),
    (
        "efficientnet",
        "depthwise convolutions and squeeze-and-excitation",
    ),
    ("mobilenet", "depthwise convolutions"),
    ("seresne", "squeeze-and-excitation"),
    ("resnext", "grouped convolutions"),
    ("regnet", "grouped convolutions"),
    ("resnetv2", "blocks that normalise before they convolve"),
    ("wide_resnet", "bottlenecks of twice the width"),
    ("densenet", "densely connected blocks"),
    ("inception", "inception blocks"),
    ("vgg", "stacks of convolutions without shortcuts"),
    ("mixer", "perceptrons over the tokens in place of attention"),
];

/// Parts of tensors' names, and what the network of such tensors needs.
const PARTS: &[(&str, &str)] = &[
    (".ls1.gamma", "layer scale"),
    (".gamma_1", "layer scale"),
    ("reg_token", "register tokens"),
    ("register_tokens", "register tokens"),
    ("dist_token", "a distillation token"),
    ("relative_position_bias_table", "relative position biases"),
    ("attn_pool.", "attention pooling"),
    (".conv_dw.", "depthwise convolutions"),
    (".dwconv.", "depthwise convolutions"),
    (".se.", "squeeze-and-excitation"),
];

/// What a network of this name needs that is not here, where that is known.
pub fn lacking(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let found = FAMILIES.iter().find(|(part, _)| name.contains(part));
    found.map(|(_, lacks)| *lacks)
}

/// What the network of these tensors needs that is not here, and a tensor that shows it.
pub fn lacking_of<'t>(
    tensors: impl Iterator<Item = &'t String> + Clone,
) -> Vec<(&'static str, &'t str)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for (part, lacks) in PARTS {
        let mut tensors = tensors.clone();
        let tensor = tensors.find(|name| name.contains(part));
        if let Some(tensor) = tensor
            && !found.iter().any(|(known, _)| known == lacks)
        {
            found.push((lacks, tensor));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::{find, names};
    use super::*;

    #[test]
    fn names_say_what_their_networks_need() {
        for (name, lacks) in [
            ("vit_small_patch14_dinov2.lvd142m", "layer scale"),
            ("vit_base_patch14_reg4_dinov2", "register tokens"),
            ("dinov2-base", "layer scale"),
            ("deit3_base_patch16_224.fb_in1k", "layer scale"),
            ("convnext_tiny.fb_in1k", "depthwise"),
            ("convnext_tiny.dinov3_lvd1689m", "depthwise"),
            ("resnext50_32x4d.tv_in1k", "grouped"),
            ("swin_tiny_patch4_window7_224", "windows"),
        ] {
            assert!(find(name).is_none());
            assert!(super::lacking(name).unwrap().contains(lacks), "{name}");
        }
        assert_eq!(lacking("resnet"), None);
        assert_eq!(lacking("vit_b_16"), None);
    }

    #[test]
    fn nothing_in_the_catalogue_is_said_to_be_missing() {
        for name in names() {
            assert_eq!(lacking(&name), None, "{name}");
            let tensors = find(&name).unwrap().config(&[]).tensors();
            let tensors: Vec<String> = tensors.into_iter().map(|spec| spec.name).collect();
            assert!(lacking_of(tensors.iter()).is_empty(), "{name}");
        }
    }
}
