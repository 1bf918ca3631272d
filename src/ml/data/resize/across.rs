//! The horizontal pass: weighted sums of columns.

use pulp::Arch;

use super::taps::Axis;
use super::{HALF, Lines, to_byte};

/// Resizes `source`, some of the `lines`, to the positions of `columns`.
pub fn across(source: &[u8], lines: &Lines, columns: &Axis, target: &mut [u8]) {
    #[cfg(all(target_arch = "x86_64", feature = "avx512"))]
    if super::wide::across(source, lines, columns, target) {
        return;
    }
    Arch::new().dispatch(|| everywhere(source, lines, columns, target));
}

#[inline(always)]
fn everywhere(source: &[u8], lines: &Lines, columns: &Axis, target: &mut [u8]) {
    let (sources, targets) = (
        source.chunks_exact((lines.kept * 3).max(1)),
        target.chunks_exact_mut((columns.len() * 3).max(1)),
    );
    // Four numbers per pixel fit a vector.
    let mut wide = vec![[0i32; 4]; lines.kept];
    for (line, target) in sources.zip(targets) {
        for (pixel, wide) in line.chunks_exact(3).zip(&mut wide) {
            *wide = [pixel[0].into(), pixel[1].into(), pixel[2].into(), 0];
        }
        for (position, target) in target.chunks_exact_mut(3).enumerate() {
            let (from, weights) = columns.taps(position);
            let mut sums = [HALF; 4];
            for (pixel, weight) in wide[from - lines.left..].iter().zip(weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += value * weight;
                }
            }
            target.copy_from_slice(&sums.map(to_byte)[..3]);
        }
    }
}

#[cfg(all(test, target_arch = "x86_64", feature = "avx512"))]
mod tests {
    use super::super::taps::axis;
    use super::super::{Filter, wide};
    use super::*;

    /// Every vector width gives the same bytes, also for lines whose first columns are missing.
    #[test]
    fn the_processor_changes_nothing() {
        for (width, target, from, count) in [(50, 34, 3, 25), (9, 40, 0, 40), (33, 9, 1, 7)] {
            for filter in [Filter::Bicubic, Filter::Bilinear, Filter::Box] {
                let columns = axis(width, target, filter, from, count);
                let left = columns.source().start;
                let lines = Lines {
                    pixels: &[],
                    width,
                    height: 3,
                    left,
                    kept: columns.source().len(),
                };
                let source: Vec<u8> = (0..3 * 3 * lines.kept)
                    .map(|place| (place * place * 89 + place * 7) as u8)
                    .collect();
                let mut plain = vec![1; 3 * 3 * count];
                let mut vectors = vec![2; 3 * 3 * count];
                everywhere(&source, &lines, &columns, &mut plain);
                if wide::across(&source, &lines, &columns, &mut vectors) {
                    assert_eq!(plain, vectors, "{width} to {target}, {filter:?}");
                }
            }
        }
    }
}
