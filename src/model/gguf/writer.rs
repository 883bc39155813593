//! Writes GGUF files: the header first, then one tensor after the other, so that a model
//! needs no more memory than its largest tensor.

use std::io::{self, Seek, Write};

use super::{ALIGNMENT, MAGIC, MOST_DIMENSIONS, Value};
use crate::model::number_type::NumberType;

/// The version that llama.cpp writes.
const VERSION: u32 = 3;

/// A tensor to be written.
#[derive(Debug, Clone)]
pub(in crate::model) struct Written {
    pub(in crate::model) name: String,
    /// Outermost dimension first.
    pub(in crate::model) shape: Vec<usize>,
    pub(in crate::model) numbers: NumberType,
}

/// Writes the header; the tensors follow in this order, each with [`write_tensor`].
///
/// # Errors
/// When a tensor cannot stand in such a file, or the disk fails.
pub(in crate::model) fn write_header(
    to: &mut (impl Write + Seek),
    values: &[(&str, Value)],
    tensors: &[Written],
) -> io::Result<()> {
    to.write_all(&MAGIC)?;
    to.write_all(&VERSION.to_le_bytes())?;
    to.write_all(&(tensors.len() as u64).to_le_bytes())?;
    to.write_all(&(values.len() as u64).to_le_bytes())?;
    for (key, value) in values {
        write_text(to, key)?;
        write_value(to, value)?;
    }
    let mut offset = 0u64;
    for tensor in tensors {
        let impossible = || {
            io::Error::other(format!(
                "{} {:?} has no place in a GGUF file as {}",
                tensor.name,
                tensor.shape,
                tensor.numbers.name()
            ))
        };
        let has_place = (1..=MOST_DIMENSIONS as usize).contains(&tensor.shape.len());
        let bytes = tensor.numbers.bytes(&tensor.shape).filter(|_| has_place).ok_or_else(impossible)?;
        let code = tensor.numbers.gguf_code().ok_or_else(impossible)?;
        write_text(to, &tensor.name)?;
        to.write_all(&(tensor.shape.len() as u32).to_le_bytes())?;
        for side in tensor.shape.iter().rev() {
            to.write_all(&(*side as u64).to_le_bytes())?;
        }
        to.write_all(&code.to_le_bytes())?;
        to.write_all(&offset.to_le_bytes())?;
        offset = (offset + bytes as u64).next_multiple_of(ALIGNMENT);
    }
    pad(to)
}

/// Writes the bytes of the next tensor.
///
/// # Errors
/// When the disk fails.
pub(in crate::model) fn write_tensor(to: &mut (impl Write + Seek), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    pad(to)
}

fn pad(to: &mut (impl Write + Seek)) -> io::Result<()> {
    let position = to.stream_position()?;
    let missing = position.next_multiple_of(ALIGNMENT) - position;
    to.write_all(&vec![0; missing as usize])
}

fn write_text(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(&(text.len() as u64).to_le_bytes())?;
    to.write_all(text.as_bytes())
}

/// Numbers in the types that llama.cpp gives them.
fn write_value(to: &mut impl Write, value: &Value) -> io::Result<()> {
    match value {
        Value::Text(text) => {
            to.write_all(&8u32.to_le_bytes())?;
            write_text(to, text)
        }
        Value::Whole(whole) => {
            if let Ok(small) = u32::try_from(*whole) {
                return to.write_all(&[4u32.to_le_bytes(), small.to_le_bytes()].concat());
            }
            to.write_all(&10u32.to_le_bytes())?;
            to.write_all(&whole.to_le_bytes())
        }
        Value::Real(real) => to.write_all(&[6u32.to_le_bytes(), (*real as f32).to_le_bytes()].concat()),
    }
}
