//! PyTorch's `.pth` files: an archive of a pickle and the data of its tensors. Only tensors
//! are read, see [`super::pickle`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::DType;
use zip::ZipArchive;

use super::pickle::{Node, Pickle, TensorPlace};

/// Larger pickles do not describe tensors: those of published checkpoints have less than a
/// million bytes. In memory a pickle takes up to two hundred times as much.
const LARGEST_PICKLE: u64 = 32 << 20;
/// Where training programs keep the tensors of the network.
const STATE_KEYS: [&str; 3] = ["model", "state_dict", "model_state_dict"];

/// An opened file.
pub(super) struct PthFile {
    archive: Mutex<ZipArchive<BufReader<File>>>,
    /// What the names in the archive begin with.
    root: String,
    tensors: BTreeMap<String, PthTensor>,
}

/// A tensor of the file.
#[derive(Debug, Clone)]
pub(super) struct PthTensor {
    dtype: DType,
    place: Arc<TensorPlace>,
}

impl PthTensor {
    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.place.shape
    }

    /// Bytes of its data before it, and its own; `None` when there is no room for the number.
    fn extent(&self) -> Option<(u64, usize)> {
        let size = self.dtype.size_in_bytes();
        let bytes = self.place.shape.iter().try_fold(size, |bytes, &side| bytes.checked_mul(side))?;
        let skipped = u64::try_from(self.place.offset.checked_mul(size)?).ok()?;
        skipped.checked_add(bytes as u64).map(|_| (skipped, bytes))
    }
}

impl PthFile {
    /// Opens a file and reads what tensors it holds.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| {
            format!(
                "it is no archive ({error}); files of PyTorch before 1.6 must be saved again by a newer one"
            )
        })?;
        let mut names = archive.file_names().filter_map(Result::ok).map(Cow::into_owned);
        let pickle = names.find(|name| name.ends_with("/data.pkl") || name == "data.pkl");
        drop(names);
        let pickle = pickle.ok_or_else(|| "it holds no data.pkl".to_owned())?;
        let mut bytes = Vec::new();
        let entry = archive.by_name(&pickle).map_err(|error| format!("{pickle}: {error}"))?;
        if entry.size() > LARGEST_PICKLE {
            return Err(format!("{pickle} is larger than any description of tensors"));
        }
        entry.take(LARGEST_PICKLE).read_to_end(&mut bytes).map_err(|error| format!("{pickle}: {error}"))?;
        let tensors = tensors(&Pickle::read(&bytes)?)?;
        check_sizes(&tensors, length)?;
        let root = pickle.trim_end_matches("data.pkl").to_owned();
        Ok(Self { archive: Mutex::new(archive), root, tensors })
    }

    /// The tensors by name.
    pub(super) fn tensors(&self) -> &BTreeMap<String, PthTensor> {
        &self.tensors
    }

    /// Reads the numbers of a tensor.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn read(&self, name: &str) -> Result<(DType, Vec<u8>), String> {
        let tensor = self.tensors.get(name).ok_or_else(|| "it is not there".to_owned())?;
        let extent = tensor.extent();
        let (skipped, count) =
            extent.ok_or_else(|| format!("its shape {:?} is impossible", tensor.shape()))?;
        if !is_contiguous(&tensor.place) {
            return Err("its numbers are not in order; save it with .contiguous()".to_owned());
        }
        let file = format!("{}data/{}", self.root, tensor.place.key);
        let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entry = archive.by_name(&file).map_err(|error| format!("{file}: {error}"))?;
        // Checked before anything is allocated: sizes in the pickle may be invented. So may be
        // this one; that of the file, which the tensor does not exceed either, is not.
        if skipped.checked_add(count as u64).is_none_or(|end| end > entry.size()) {
            return Err(format!("{file} holds {} bytes, the tensor needs {count}", entry.size()));
        }
        let failed = |error: std::io::Error| format!("{file}: {error}");
        std::io::copy(&mut entry.by_ref().take(skipped), &mut std::io::sink()).map_err(failed)?;
        let mut bytes = vec![0; count];
        entry.read_exact(&mut bytes).map_err(failed)?;
        Ok((tensor.dtype, bytes))
    }
}

/// The tensors of the whole, or of the part that holds the network; names without the
/// `module.` of training on several cards.
fn tensors(pickle: &Pickle) -> Result<BTreeMap<String, PthTensor>, String> {
    let root = pickle.root();
    let state = STATE_KEYS.iter().find_map(|key| pickle.entry(root, key)).unwrap_or(root);
    let Node::Dict(entries) = state else { return Err("it holds no dictionary of tensors".to_owned()) };
    let mut tensors = BTreeMap::new();
    for (name, value) in entries {
        let (Node::Text(name), Node::Tensor(place)) = (pickle.node(*name), pickle.node(*value)) else {
            continue;
        };
        let dtype = match place.storage.as_str() {
            "FloatStorage" => DType::F32,
            "HalfStorage" => DType::F16,
            "BFloat16Storage" => DType::BF16,
            "DoubleStorage" => DType::F64,
            "LongStorage" => DType::I64,
            "IntStorage" => DType::I32,
            "ByteStorage" | "BoolStorage" => DType::U8,
            other => return Err(format!("{name} is stored as {other}, which is not known")),
        };
        let name = name.strip_prefix("module.").unwrap_or(name).to_owned();
        tensors.insert(name, PthTensor { dtype, place: place.clone() });
    }
    if tensors.is_empty() {
        return Err("it holds no tensors".to_owned());
    }
    Ok(tensors)
}

/// Refuses tensors that are larger than their file of `length` bytes: what reads them may take
/// memory by their shapes.
fn check_sizes(tensors: &BTreeMap<String, PthTensor>, length: u64) -> Result<(), String> {
    for (name, tensor) in tensors {
        let end = tensor.extent().and_then(|(skipped, bytes)| skipped.checked_add(bytes as u64));
        if end.is_none_or(|end| end > length) {
            return Err(format!(
                "{name} has the shape {:?} from number {} of its data on, and the file only {length} bytes; download it again",
                tensor.shape(),
                tensor.place.offset
            ));
        }
    }
    Ok(())
}

/// Whether numbers lie row by row without gaps; sides of 1 may have any stride.
fn is_contiguous(place: &TensorPlace) -> bool {
    let mut expected = 1usize;
    place.shape.len() == place.stride.len()
        && place.shape.iter().zip(&place.stride).rev().all(|(&side, &stride)| {
            let fits = side <= 1 || stride == expected;
            expected = expected.saturating_mul(side);
            fits
        })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;
    use proptest::sample::Index;
    use zip::write::{SimpleFileOptions, ZipWriter};

    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&[b'X'][..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
    }

    fn sizes(sizes: &[u8]) -> Vec<u8> {
        let parts: Vec<u8> = sizes.iter().flat_map(|&size| [b'K', size]).collect();
        [&b"("[..], &parts, b"t"].concat()
    }

    /// `"name": tensor` as torch.save writes it.
    fn tensor(name: &str, key: &str, shape: &[u8], stride: &[u8]) -> Vec<u8> {
        [
            text(name),
            b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
            text("storage"),
            b"ctorch\nFloatStorage\n".to_vec(),
            text(key),
            text("cpu"),
            b"K\x06tQK\x00".to_vec(),
            sizes(shape),
            sizes(stride),
            b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
        ]
        .concat()
    }

    fn write(path: &Path, pickle: &[u8], data: &[f32]) {
        let mut archive = ZipWriter::new(File::create(path).unwrap());
        let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        archive.start_file("archive/data.pkl", stored).unwrap();
        archive.write_all(pickle).unwrap();
        archive.start_file("archive/data/0", stored).unwrap();
        archive.write_all(&data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        archive.finish().unwrap();
    }

    fn opened(pickle: &[u8]) -> Result<PthFile, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), pickle, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        PthFile::open(file.path())
    }

    /// {"args": Namespace(), "model": {...}}
    fn checkpoint(tensors: &[Vec<u8>]) -> Vec<u8> {
        [
            b"\x80\x02}(".to_vec(),
            text("args"),
            b"cargparse\nNamespace\n)\x81}b".to_vec(),
            text("model"),
            b"}(".to_vec(),
            tensors.concat(),
            b"uu.".to_vec(),
        ]
        .concat()
    }

    #[test]
    fn tensors_of_a_training_checkpoint_are_read() {
        let pickle = checkpoint(&[tensor("module.a.weight", "0", &[2, 3], &[3, 1])]);
        let file = opened(&pickle).unwrap();
        assert_eq!(file.tensors().keys().collect::<Vec<_>>(), ["a.weight"]);
        assert_eq!(file.tensors()["a.weight"].shape(), [2, 3]);
        let (dtype, bytes) = file.read("a.weight").unwrap();
        assert_eq!((dtype, bytes.len()), (DType::F32, 24));
        assert_eq!(bytes[20..], 5f32.to_le_bytes());
    }

    #[test]
    fn sizes_that_lie_are_refused_before_memory_is_taken() {
        for (key, shape, stride, expected) in [
            ("0", vec![255, 255, 255, 255, 255, 255, 255, 255], vec![1; 8], "a has the shape [255, 255, "),
            ("0", vec![200, 200, 200], vec![1; 3], "a has the shape [200, 200, 200] from number 0"),
            ("0", vec![2, 2, 2], vec![1; 3], "not in order"),
            ("0", vec![9], vec![1], "holds 24 bytes"),
            ("1", vec![2], vec![1], "data/1"),
            ("0", vec![3, 2], vec![1, 3], "contiguous"),
        ] {
            let opened = opened(&checkpoint(&[tensor("a", key, &shape, &stride)]));
            let message = opened.and_then(|file| file.read("a")).unwrap_err();
            assert!(message.contains(expected), "{shape:?}: {message}");
        }
    }

    #[test]
    fn files_that_hold_no_tensors_say_so() {
        let message = |pickle: &[u8]| opened(pickle).err().unwrap();
        assert!(message(b"K\x01.").contains("no dictionary"));
        assert!(message(&checkpoint(&[])).contains("no tensors"));
        assert!(message(b"cos\nsystem\n)R.").contains("os.system"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"PK").unwrap();
        assert!(PthFile::open(file.path()).err().unwrap().contains("1.6"));
    }

    /// What can be read of a file with this pickle and 24 bytes of data lies within these.
    fn check_read(pickle: &[u8]) -> Result<(), TestCaseError> {
        let Ok(file) = opened(pickle) else { return Ok(()) };
        for (name, tensor) in file.tensors() {
            let Ok((dtype, bytes)) = file.read(name) else { continue };
            let count: usize = tensor.shape().iter().product();
            prop_assert_eq!(bytes.len(), count * dtype.size_in_bytes());
            prop_assert!(bytes.len() <= 24, "{} bytes of {}", bytes.len(), name);
        }
        Ok(())
    }

    proptest! {
        /// A description of tensors with bytes changed, in which sizes are as they come.
        #[test]
        fn changed_pickles_give_no_more_than_the_data(
            key in "[01]",
            shape in proptest::collection::vec(0u8..8, 0..4),
            stride in proptest::collection::vec(0u8..8, 0..4),
            edits in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        ) {
            let tensors = [tensor("a", "0", &[2, 3], &[3, 1]), tensor("b", &key, &shape, &stride)];
            let mut pickle = checkpoint(&tensors);
            let length = pickle.len();
            for (at, byte) in edits {
                pickle[at.index(length)] = byte;
            }
            check_read(&pickle)?;
        }

        /// Instructions and parts of tensors in any order, in a dictionary of tensors.
        #[test]
        fn instructions_in_any_order_give_no_more_than_the_data(
            picks in proptest::collection::vec(any::<Index>(), 0..24),
        ) {
            let storage = [
                b"((".to_vec(),
                text("storage"),
                b"ctorch\nHalfStorage\n".to_vec(),
                text("0"),
                b"tQ".to_vec(),
            ];
            let parts = [
                b"(".to_vec(),
                b"t".to_vec(),
                b"}".to_vec(),
                b"R".to_vec(),
                b"u(".to_vec(),
                b"s".to_vec(),
                b"0".to_vec(),
                b"2".to_vec(),
                b"q\x01".to_vec(),
                b"h\x01".to_vec(),
                b"K\x06".to_vec(),
                b"J\xff\xff\xff\x7f".to_vec(),
                b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(),
                text("a"),
                sizes(&[2, 3]),
                sizes(&[3, 1]),
                storage.concat(),
                tensor("b", "0", &[6], &[1]),
            ];
            let picked: Vec<&[u8]> = picks.iter().map(|pick| parts[pick.index(parts.len())].as_slice()).collect();
            check_read(&checkpoint(&[tensor("c", "0", &[2, 2], &[2, 1]), picked.concat()]))?;
        }
    }
}
