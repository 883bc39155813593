//! Which tensor of a safetensors file is described wrongly. The crate's own message often
//! does not say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Bytes of a header: the crate reads no longer ones.
const LONGEST_HEADER: u64 = 100_000_000;

/// A header without its metadata.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    _metadata: Option<IgnoredAny>,
    #[serde(flatten)]
    tensors: BTreeMap<String, TensorInfo>,
}

/// What the crate said of a file that it cannot read, and the tensor that this is about, where
/// one can be found.
pub(super) fn explained(path: &Path, said: &str) -> String {
    match described_wrongly(path) {
        Some(fault) => format!("{said}; {fault}"),
        None => said.to_owned(),
    }
}

/// One sentence about the first tensor that does not lie within the data, or has a shape for
/// other bytes than it has.
fn described_wrongly(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let mut count = [0; 8];
    file.read_exact(&mut count).ok()?;
    let count = u64::from_le_bytes(count);
    let data = length.checked_sub(8)?.checked_sub(count).filter(|_| count <= LONGEST_HEADER)?;
    let mut header = vec![0; usize::try_from(count).ok()?];
    file.read_exact(&mut header).ok()?;
    let header: Header = serde_json::from_slice(&header).ok()?;
    header.tensors.iter().find_map(|(name, info)| {
        let (start, end) = info.data_offsets;
        if start > end || end as u64 > data {
            return Some(format!("tensor {name} is at {start} to {end} of {data} bytes; download it again"));
        }
        let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |bits, &side| bits.checked_mul(side));
        let is_whole = bits.is_some_and(|bits| bits.is_multiple_of(8) && bits / 8 == end - start);
        (!is_whole).then(|| {
            format!(
                "tensor {name} of shape {:?} and type {} has {} bytes",
                info.shape,
                info.dtype,
                end - start
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str, data: usize) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat();
        std::fs::write(file.path(), bytes).unwrap();
        explained(file.path(), "no")
    }

    #[test]
    fn the_tensor_that_is_wrong_is_named() {
        let good = r#""a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}"#;
        let bad = |shape: &str, offsets: &str| {
            of(&format!(r#"{{{good},"b":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#), 8)
        };
        assert_eq!(bad("[1]", "[4,8]"), "no");
        for (shape, offsets) in
            [("[2]", "[4,8]"), ("[4611686018427387904,4]", "[4,8]"), ("[2]", "[4,12]"), ("[1]", "[8,4]")]
        {
            let said = bad(shape, offsets);
            assert!(said.starts_with("no; tensor b "), "{said}");
        }
        assert_eq!(of("{", 0), "no");
        assert_eq!(explained(Path::new("nowhere"), "no"), "no");
    }
}
