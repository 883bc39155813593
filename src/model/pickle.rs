//! A reader of Python's pickles that knows tensors and containers, and runs nothing.
//!
//! A pickle is a program that may name any function of Python. This reader keeps what it
//! builds as plain nodes of an arena, knows the few names that tensors are made with, takes
//! objects of modules that only hold settings as opaque, and refuses every other name.
//!
//! A pickle may recall what it made as often as it likes, in two bytes each time. Whatever is
//! copied then is short here, so that nodes take a bounded number of bytes for each of the pickle.

use std::sync::Arc;

/// What a pickle holds; children are numbers of nodes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// `None`, booleans, floating-point numbers, bytes: nothing here needs their values.
    Scalar,
    Int(i64),
    Text(String),
    Tuple(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    /// Module and name.
    Global(String),
    /// A reference to data beside the pickle; the node of its description.
    Persistent(usize),
    Tensor(Arc<TensorPlace>),
    /// A list, or an object that is not looked into.
    Opaque,
}

/// Where the numbers of a tensor are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorPlace {
    /// Kind of numbers, such as `FloatStorage`.
    pub(super) storage: String,
    /// Name of the data.
    pub(super) key: String,
    /// First number.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

/// A pickle as nodes.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    root: usize,
}

/// Modules whose objects only hold settings, and single names of others.
const HARMLESS_MODULES: [&str; 4] = ["argparse", "omegaconf", "typing", "collections"];
const HARMLESS_NAMES: [&str; 14] = [
    "builtins.dict",
    "builtins.float",
    "builtins.int",
    "builtins.list",
    "builtins.set",
    "builtins.str",
    "builtins.tuple",
    "__builtin__.dict",
    "__builtin__.list",
    "__builtin__.set",
    "copyreg._reconstructor",
    "torch.Size",
    "torch.device",
    "pathlib.PosixPath",
];
/// How tensors are made.
const REBUILD_TENSOR: &str = "torch._utils._rebuild_tensor_v2";
const REBUILD_PARAMETER: &str = "torch._utils._rebuild_parameter";
/// Bytes of a name of Python or of the data of a tensor.
const LONGEST_NAME: usize = 255;
/// Dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

impl Pickle {
    /// Reads a pickle of protocols 2 to 5.
    ///
    /// # Errors
    /// One sentence: it is damaged, or names something that is not data.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine { bytes, at: 0, nodes: Vec::new(), stack: Vec::new(), memo: Vec::new() };
        loop {
            let opcode = machine.byte()?;
            if opcode == b'.' {
                let root = machine.pop()?;
                return Ok(Self { nodes: machine.nodes, root });
            }
            machine.step(opcode)?;
        }
    }

    /// What the whole is.
    pub(super) fn root(&self) -> &Node {
        &self.nodes[self.root]
    }

    /// A node by its number.
    pub(super) fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// The value of a text key of a dictionary.
    pub(super) fn entry(&self, dict: &Node, key: &str) -> Option<&Node> {
        let Node::Dict(entries) = dict else { return None };
        let found =
            entries.iter().find(|(name, _)| matches!(self.node(*name), Node::Text(text) if text == key));
        found.map(|(_, value)| self.node(*value))
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    /// Numbers of nodes; `None` is a mark.
    stack: Vec<Option<usize>>,
    memo: Vec<Option<usize>>,
}

impl Machine<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| "the pickle ends early".to_owned())?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned number of `count` bytes, at most 8.
    fn unsigned(&mut self, count: usize) -> Result<usize, String> {
        let number = self.take(count)?.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        usize::try_from(number).map_err(|error| error.to_string())
    }

    /// A signed number of `count` bytes in two's complement; larger ones than 8 bytes are cut.
    fn signed(&mut self, count: usize) -> Result<i64, String> {
        let bytes = self.take(count)?;
        let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [fill; 8];
        wide.iter_mut().zip(bytes).for_each(|(wide, byte)| *wide = *byte);
        Ok(i64::from_le_bytes(wide))
    }

    fn text(&mut self, count: usize) -> Result<String, String> {
        Ok(String::from_utf8_lossy(self.take(count)?).into_owned())
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| "the pickle ends early".to_owned())?;
        let line = self.text(end)?;
        self.at += 1;
        Ok(line)
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(Some(self.nodes.len() - 1));
    }

    fn pop(&mut self) -> Result<usize, String> {
        self.stack.pop().flatten().ok_or_else(|| "the pickle takes what it never made".to_owned())
    }

    fn top(&self) -> Result<usize, String> {
        self.stack.last().copied().flatten().ok_or_else(|| "the pickle changes what it never made".to_owned())
    }

    /// Everything above the last mark, which goes, too.
    fn pop_to_mark(&mut self) -> Result<Vec<usize>, String> {
        let mark = self.stack.iter().rposition(Option::is_none);
        let mark = mark.ok_or_else(|| "the pickle has no mark where it needs one".to_owned())?;
        let above = self.stack.drain(mark..).flatten().collect();
        Ok(above)
    }

    fn pop_some(&mut self, count: usize) -> Result<Vec<usize>, String> {
        let mut taken: Vec<usize> = (0..count).map(|_| self.pop()).collect::<Result<_, _>>()?;
        taken.reverse();
        Ok(taken)
    }

    fn remember(&mut self, slot: usize) -> Result<(), String> {
        let top = self.top()?;
        // Slots are given one after the other; a far one is an attack on memory.
        if slot > self.nodes.len() {
            return Err(format!("the pickle remembers something as number {slot}"));
        }
        if self.memo.len() <= slot {
            self.memo.resize(slot + 1, None);
        }
        self.memo[slot] = Some(top);
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Result<(), String> {
        let number = self.memo.get(slot).copied().flatten();
        self.stack
            .push(Some(number.ok_or_else(|| format!("the pickle recalls number {slot}, which is nothing"))?));
        Ok(())
    }

    fn step(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            0x80 => drop(self.byte()?),
            0x95 => drop(self.take(8)?),
            b'(' => self.stack.push(None),
            b'0' => drop(self.stack.pop()),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(Some(top));
            }
            b'q' => self.unsigned(1).and_then(|slot| self.remember(slot))?,
            b'r' => self.unsigned(4).and_then(|slot| self.remember(slot))?,
            0x94 => self.remember(self.memo.len())?,
            b'h' => self.unsigned(1).and_then(|slot| self.recall(slot))?,
            b'j' => self.unsigned(4).and_then(|slot| self.recall(slot))?,
            b'N' | 0x88 | 0x89 => self.push(Node::Scalar),
            b'G' => self.skip(8)?,
            b'J' => self.signed(4).map(|number| self.push(Node::Int(number)))?,
            b'K' => self.unsigned(1).map(|number| self.push(Node::Int(number as i64)))?,
            b'M' => self.unsigned(2).map(|number| self.push(Node::Int(number as i64)))?,
            0x8a => self.unsigned(1).and_then(|count| self.signed(count)).map(|n| self.push(Node::Int(n)))?,
            0x8b => self.unsigned(4).and_then(|count| self.signed(count)).map(|n| self.push(Node::Int(n)))?,
            b'X' | b'T' => {
                self.unsigned(4).and_then(|count| self.text(count)).map(|t| self.push(Node::Text(t)))?;
            }
            0x8c | b'U' => {
                self.unsigned(1).and_then(|count| self.text(count)).map(|t| self.push(Node::Text(t)))?;
            }
            0x8d => self.unsigned(8).and_then(|count| self.text(count)).map(|t| self.push(Node::Text(t)))?,
            b'B' => self.unsigned(4).and_then(|count| self.skip(count))?,
            b'C' => self.unsigned(1).and_then(|count| self.skip(count))?,
            0x8e => self.unsigned(8).and_then(|count| self.skip(count))?,
            _ => self.build(opcode)?,
        }
        Ok(())
    }

    fn skip(&mut self, count: usize) -> Result<(), String> {
        self.take(count)?;
        self.push(Node::Scalar);
        Ok(())
    }

    /// Containers and objects.
    fn build(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            b')' => self.push(Node::Tuple(Vec::new())),
            0x85..=0x87 => {
                let parts = self.pop_some(usize::from(opcode - 0x84))?;
                self.push(Node::Tuple(parts));
            }
            b't' => {
                let parts = self.pop_to_mark()?;
                self.push(Node::Tuple(parts));
            }
            b']' | 0x8f => self.push(Node::Opaque),
            b'l' | 0x91 => {
                self.pop_to_mark()?;
                self.push(Node::Opaque);
            }
            // Lists are not looked into, nor is the state of objects.
            b'a' | b'b' => drop(self.pop()?),
            b'e' | 0x90 => drop(self.pop_to_mark()?),
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                let parts = self.pop_to_mark()?;
                self.push(Node::Dict(Vec::new()));
                self.set(&parts)?;
            }
            b's' => {
                let parts = self.pop_some(2)?;
                self.set(&parts)?;
            }
            b'u' => {
                let parts = self.pop_to_mark()?;
                self.set(&parts)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let parts = self.pop_some(2)?;
                let [Node::Text(module), Node::Text(name)] =
                    [parts[0], parts[1]].map(|k| self.nodes[k].clone())
                else {
                    return Err("the pickle names something without a name".to_owned());
                };
                self.global(&module, &name)?;
            }
            b'R' | 0x81 => {
                let parts = self.pop_some(2)?;
                self.made(parts[0], parts[1])?;
            }
            0x92 => {
                let parts = self.pop_some(3)?;
                self.made(parts[0], parts[1])?;
            }
            b'Q' => {
                let description = self.pop()?;
                self.push(Node::Persistent(description));
            }
            other => {
                return Err(format!("the pickle holds instruction 0x{other:02x}, which no tensor needs"));
            }
        }
        Ok(())
    }

    /// Puts keys and values into the dictionary on top; other objects take no notice.
    fn set(&mut self, parts: &[usize]) -> Result<(), String> {
        let top = self.top()?;
        if let Node::Dict(entries) = &mut self.nodes[top] {
            entries.extend(parts.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        }
        Ok(())
    }

    /// Lets known names pass.
    fn global(&mut self, module: &str, name: &str) -> Result<(), String> {
        check_length(module)?;
        check_length(name)?;
        let full = format!("{module}.{name}");
        let is_storage = module == "torch" && name.ends_with("Storage");
        let is_harmless = HARMLESS_MODULES.iter().any(|known| {
            module.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        let is_known = [REBUILD_TENSOR, REBUILD_PARAMETER].contains(&full.as_str());
        if !(is_storage || is_harmless || is_known || HARMLESS_NAMES.contains(&full.as_str())) {
            return Err(format!(
                "it wants to call {full}, and only tensors are read from such files; convert it to safetensors with a program that you trust it with"
            ));
        }
        self.push(Node::Global(full));
        Ok(())
    }

    /// What a call of a known name makes.
    fn made(&mut self, callee: usize, arguments: usize) -> Result<(), String> {
        let Node::Global(name) = &self.nodes[callee] else {
            return Err("the pickle calls something that has no name".to_owned());
        };
        let node = match name.as_str() {
            "collections.OrderedDict" => Node::Dict(Vec::new()),
            REBUILD_TENSOR => Node::Tensor(Arc::new(self.tensor(arguments)?)),
            REBUILD_PARAMETER => {
                let tensor = self.parts(arguments)?.first().copied();
                let tensor = tensor.ok_or_else(|| "a parameter without a tensor".to_owned())?;
                self.stack.push(Some(tensor));
                return Ok(());
            }
            _ => Node::Opaque,
        };
        self.push(node);
        Ok(())
    }

    fn parts(&self, tuple: usize) -> Result<&[usize], String> {
        match &self.nodes[tuple] {
            Node::Tuple(parts) => Ok(parts),
            _ => Err("a call without arguments".to_owned()),
        }
    }

    fn count(&self, node: usize) -> Result<usize, String> {
        match self.nodes[node] {
            Node::Int(number) => {
                usize::try_from(number).map_err(|_negative| format!("a tensor has a size of {number}"))
            }
            _ => Err("a tensor has a size that is no number".to_owned()),
        }
    }

    fn counts(&self, tuple: usize) -> Result<Vec<usize>, String> {
        let parts = self.parts(tuple)?;
        if parts.len() > MOST_DIMENSIONS {
            return Err(format!(
                "a tensor has {} dimensions, at most {MOST_DIMENSIONS} are allowed",
                parts.len()
            ));
        }
        parts.iter().map(|&part| self.count(part)).collect()
    }

    /// (storage, offset, shape, stride, ...) with storage ("storage", kind, key, place, count).
    fn tensor(&self, arguments: usize) -> Result<TensorPlace, String> {
        let wrong = || "a tensor is described in an unknown way".to_owned();
        let [storage, offset, shape, stride, ..] = self.parts(arguments)? else { return Err(wrong()) };
        let Node::Persistent(description) = self.nodes[*storage] else { return Err(wrong()) };
        let [_, kind, key, ..] = self.parts(description)? else { return Err(wrong()) };
        let (Node::Global(kind), Node::Text(key)) = (&self.nodes[*kind], &self.nodes[*key]) else {
            return Err(wrong());
        };
        check_length(key)?;
        Ok(TensorPlace {
            storage: kind.trim_start_matches("torch.").to_owned(),
            key: key.clone(),
            offset: self.count(*offset)?,
            shape: self.counts(*shape)?,
            stride: self.counts(*stride)?,
        })
    }
}

fn check_length(name: &str) -> Result<(), String> {
    if name.len() > LONGEST_NAME {
        return Err(format!("a name has {} bytes, at most {LONGEST_NAME} are allowed", name.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn containers_are_read_and_shared_parts_recalled() {
        // {"a": (1, 2.0, "b"), "c": {}} with the text remembered and recalled.
        let bytes = b"\x80\x02}(X\x01\0\0\0aK\x01G\x40\0\0\0\0\0\0\0X\x01\0\0\0bq\x00\x87X\x01\0\0\0c}u.";
        let pickle = Pickle::read(bytes).unwrap();
        let Node::Tuple(parts) = pickle.entry(pickle.root(), "a").unwrap() else { panic!() };
        let parts: Vec<&Node> = parts.iter().map(|&part| pickle.node(part)).collect();
        assert_eq!(parts, [&Node::Int(1), &Node::Scalar, &Node::Text("b".to_owned())]);
        assert_eq!(pickle.entry(pickle.root(), "c"), Some(&Node::Dict(Vec::new())));
        assert_eq!(pickle.entry(pickle.root(), "d"), None);
    }

    #[test]
    fn whole_numbers_keep_their_sign() {
        for (bytes, number) in [
            (&b"J\xfe\xff\xff\xff."[..], -2),
            (b"M\x00\x01.", 256),
            (b"\x8a\x02\x00\x80.", -32_768),
            (b"\x8a\x00.", 0),
        ] {
            assert_eq!(Pickle::read(bytes).unwrap().root(), &Node::Int(number));
        }
    }

    #[test]
    fn what_wants_to_run_code_is_refused_by_name() {
        for (bytes, name) in [
            (&b"cos\nsystem\n(X\x02\0\0\0lstR."[..], "os.system"),
            (b"c__builtin__\neval\n(X\x01\0\0\x001tR.", "__builtin__.eval"),
            (b"\x8c\x08builtins\x8c\x04exec\x93)R.", "builtins.exec"),
            (b"ccollectionsx\nOrderedDict\n)R.", "collectionsx.OrderedDict"),
        ] {
            let message = Pickle::read(bytes).unwrap_err();
            assert!(message.contains(name) && message.contains("only tensors"), "{message}");
        }
        assert!(Pickle::read(b"(ios\nsystem\n.").unwrap_err().contains("0x69"));
    }

    #[test]
    fn damage_is_an_error() {
        for bytes in
            [&b""[..], b"K", b".", b"X\xff\xff\xff\x7fab", b"h\x07.", b"}K\x01s.", b"t.", b"K\x01R.", b"N)R."]
        {
            assert!(Pickle::read(bytes).is_err(), "{bytes:?}");
        }
        // A far slot must not take memory.
        assert!(Pickle::read(b"Nr\xff\xff\xff\xff.").unwrap_err().contains("4294967295"));
    }

    fn text(text: &str) -> Vec<u8> {
        [&[b'X'][..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
    }

    /// A tensor with sides of 1, kept under `key`.
    fn tensor(key: &str, dimensions: usize) -> Vec<u8> {
        let sizes = [&b"("[..], &b"K\x01".repeat(dimensions), b"t"].concat();
        [
            b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
            text("storage"),
            b"ctorch\nFloatStorage\n".to_vec(),
            text(key),
            b"tQK\x00".to_vec(),
            sizes.clone(),
            sizes,
            b"tR.".to_vec(),
        ]
        .concat()
    }

    #[test]
    fn what_every_recall_copies_is_short() {
        let (long, longer) = ("x".repeat(LONGEST_NAME), "x".repeat(LONGEST_NAME + 1));
        let read = Pickle::read(&tensor(&long, MOST_DIMENSIONS)).unwrap();
        let Node::Tensor(place) = read.root() else { panic!() };
        assert_eq!((place.key.as_str(), place.shape.len()), (long.as_str(), MOST_DIMENSIONS));

        let name = |name: &str| [text("typing"), text(name), b"\x93.".to_vec()].concat();
        assert!(Pickle::read(&name(&long)).is_ok());
        for pickle in [name(&longer), tensor(&longer, 1)] {
            let message = Pickle::read(&pickle).unwrap_err();
            assert!(message.contains("256 bytes, at most 255"), "{message}");
        }
        assert!(Pickle::read(&tensor("0", 9)).unwrap_err().contains("9 dimensions"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(Pickle::read(&bytes));
        }

        /// Bytes that are mostly instructions reach deeper than any bytes.
        #[test]
        fn no_instructions_make_it_panic(picks in proptest::collection::vec(0usize..40, 0..300)) {
            const INSTRUCTIONS: &[u8] = b"(0129q\x00h\x00N\x88)]}tlaesudRbQK\x05\x85\x86\x87\x94\x81\x8f\x90X\x01\0\0\0a.";
            let bytes: Vec<u8> = picks.iter().map(|&pick| INSTRUCTIONS[pick % INSTRUCTIONS.len()]).collect();
            drop(Pickle::read(&bytes));
        }
    }
}
