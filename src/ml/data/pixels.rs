//! Images and other rows of bytes by index: in memory, in memory-mapped files, or decoded on
//! demand.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::{Error, Result};

/// Images of equal size by index.
pub trait Pixels: fmt::Debug + Send + Sync {
    /// Image `index`: u8 RGB, row-major `[height, width, 3]`.
    ///
    /// # Errors
    /// An image that is decoded on demand and can't be, or an index out of range.
    fn image(&self, index: usize) -> Result<Cow<'_, [u8]>>;
}

/// Consecutive rows: a vector, or a memory-mapped file.
pub type Shard = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Rows of `width` bytes in shards of `each` rows; the last shard may be shorter.
#[derive(Clone)]
pub struct Rows {
    width: usize,
    each: usize,
    shards: Vec<Shard>,
}

impl Rows {
    pub fn new(width: usize, each: usize, shards: Vec<Shard>) -> Self {
        Self {
            width,
            each: each.max(1),
            shards,
        }
    }

    /// All rows in one shard.
    pub fn whole(width: usize, bytes: Vec<u8>) -> Self {
        Self::new(width, usize::MAX, vec![Arc::new(bytes)])
    }

    /// Rows of `width` numbers.
    pub fn of_floats(width: usize, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        Self::whole(4 * width, bytes.collect())
    }

    pub fn row(&self, index: usize) -> Result<&[u8]> {
        let shard = self.shards.get(index / self.each);
        let begin = (index % self.each).checked_mul(self.width);
        let row = shard.zip(begin).and_then(|(shard, begin)| {
            let end = begin.checked_add(self.width)?;
            (**shard).as_ref().get(begin..end)
        });
        row.ok_or_else(|| Error::Invalid(format!("there is no row {index}")))
    }

    /// Row `index` of little-endian f32.
    pub fn floats(&self, index: usize) -> Result<impl Iterator<Item = f32> + '_> {
        let (numbers, _) = self.row(index)?.as_chunks::<4>();
        Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)))
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let shards = self.shards.len();
        write!(formatter, "rows of {} bytes in {shards} shards", self.width)
    }
}

impl Pixels for Rows {
    fn image(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(self.row(index)?))
    }
}

/// Images of several origins, concatenated.
#[derive(Debug, Default)]
pub struct Joined<'a> {
    /// Each with the index after its last image.
    parts: Vec<(usize, Box<dyn Pixels + 'a>)>,
}

impl<'a> Joined<'a> {
    pub fn push(&mut self, count: usize, pixels: Box<dyn Pixels + 'a>) {
        let before = self.parts.last().map_or(0, |(end, _)| *end);
        self.parts.push((before + count, pixels));
    }
}

impl Pixels for Joined<'_> {
    fn image(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        let part = self.parts.partition_point(|(end, _)| *end <= index);
        let begin = match part {
            0 => 0,
            _ => self.parts[part - 1].0,
        };
        match self.parts.get(part) {
            Some((_, pixels)) => pixels.image(index - begin),
            None => Err(Error::Invalid(format!("there is no image {index}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_across_shards_and_parts() {
        let shard = |rows: std::ops::Range<u8>| -> Shard {
            Arc::new(rows.flat_map(|row| [row, row + 100]).collect::<Vec<u8>>())
        };
        let rows = Rows::new(2, 3, vec![shard(0..3), shard(3..5)]);
        for row in 0..5 {
            assert_eq!(rows.row(row).unwrap(), [row as u8, row as u8 + 100]);
        }
        assert!(rows.row(5).is_err());
        assert!(rows.row(usize::MAX).is_err());
        let mut joined = Joined::default();
        joined.push(5, Box::new(rows));
        joined.push(0, Box::new(Rows::whole(2, Vec::new())));
        joined.push(2, Box::new(Rows::whole(2, vec![7, 7, 8, 8])));
        assert_eq!(joined.image(4).unwrap()[0], 4);
        assert_eq!(joined.image(5).unwrap()[0], 7);
        assert_eq!(joined.image(6).unwrap()[0], 8);
        assert!(joined.image(7).is_err());
    }

    #[test]
    fn numbers_come_back_bit_by_bit() {
        let values = [0.0, -0.0, 1.5e-42, f32::MAX, f32::NAN, 3.25];
        let rows = Rows::of_floats(3, &values);
        let back: Vec<u32> = (0..2)
            .flat_map(|row| rows.floats(row).unwrap().map(f32::to_bits))
            .collect();
        assert_eq!(back, values.map(f32::to_bits));
    }
}
