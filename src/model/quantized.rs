//! Matrices of the language model that stay quantised while they are multiplied, and the
//! choice between them and dense ones. Only dense ones can be trained.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Init, Module, VarBuilder};

use super::layers::{Linear, branch_end, linear};
use super::ops;

/// Weights that may hold matrices in quantised blocks.
pub trait QuantizedSource {
    /// The matrix `name` of `shape` (outputs, inputs); `None` where it is not stored in
    /// blocks, so that it is asked for as a dense one.
    ///
    /// # Errors
    /// When it cannot be read.
    fn quantized(&self, name: &str, shape: (usize, usize), device: &Device) -> Result<Option<Arc<QTensor>>>;
}

/// Dense weights and, for a checkpoint, those that may be quantised.
#[derive(Clone)]
pub struct Weights<'a> {
    /// Dense tensors.
    pub dense: VarBuilder<'a>,
    quantized: Option<&'a dyn QuantizedSource>,
}

impl std::fmt::Debug for Weights<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Weights").field("prefix", &self.dense.prefix()).finish_non_exhaustive()
    }
}

impl<'a> Weights<'a> {
    /// Dense weights only.
    pub fn dense(dense: &VarBuilder<'a>) -> Self {
        Self { dense: dense.clone(), quantized: None }
    }

    /// The same with matrices from `source` where it has them.
    pub fn with_quantized(dense: &VarBuilder<'a>, source: &'a dyn QuantizedSource) -> Self {
        Self { dense: dense.clone(), quantized: Some(source) }
    }

    /// The weights below `part`.
    #[must_use]
    pub fn pp(&self, part: impl ToString) -> Self {
        Self { dense: self.dense.pp(part), quantized: self.quantized }
    }

    fn matrix(&self, shape: (usize, usize)) -> Result<Option<Arc<QTensor>>> {
        let Some(source) = self.quantized else { return Ok(None) };
        source.quantized(&format!("{}.weight", self.dense.prefix()), shape, self.dense.device())
    }
}

/// A fully connected layer, dense or quantised: x Wᵀ (+ b).
#[derive(Debug, Clone)]
pub enum Projection {
    /// Can be trained.
    Dense(Linear),
    /// Weight (outputs, inputs) in blocks, bias (outputs).
    Quantized {
        /// (outputs, inputs).
        weight: Arc<QTensor>,
        /// (outputs).
        bias: Option<Tensor>,
    },
}

impl Projection {
    /// Reads `weight` and, with `bias`, `bias`; a dense one starts as
    /// [`layers::linear`](super::layers::linear) does.
    pub fn new(inputs: usize, outputs: usize, bias: bool, weights: &Weights<'_>) -> Result<Self> {
        let Some(weight) = weights.matrix((outputs, inputs))? else {
            return linear(inputs, outputs, bias, &weights.dense).map(Self::Dense);
        };
        let zeros = Init::Const(0.0);
        let bias = bias.then(|| weights.dense.get_with_hints(outputs, "bias", zeros)).transpose()?;
        Ok(Self::Quantized { weight, bias })
    }

    /// Reads `weight`; a dense one starts as
    /// [`layers::branch_end`](super::layers::branch_end) does.
    pub fn branch_end(inputs: usize, outputs: usize, branches: usize, weights: &Weights<'_>) -> Result<Self> {
        match weights.matrix((outputs, inputs))? {
            Some(weight) => Ok(Self::Quantized { weight, bias: None }),
            None => branch_end(inputs, outputs, branches, &weights.dense).map(Self::Dense),
        }
    }
}

impl Module for Projection {
    /// (…, inputs) to (…, outputs).
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(linear) => linear.forward(x),
            Self::Quantized { weight, bias } => {
                let out = multiplied(x, weight)?;
                match bias {
                    Some(bias) => out.broadcast_add(bias),
                    None => Ok(out),
                }
            }
        }
    }
}

/// Embeddings (rows, width), which may also be the output layer.
#[derive(Debug, Clone)]
pub enum Table {
    /// Can be trained.
    Dense(Tensor),
    /// In blocks; rows that are asked for become `dtype`.
    Quantized {
        /// (rows, width).
        rows: Arc<QTensor>,
        /// Type of the numbers that are computed with.
        dtype: DType,
    },
}

impl Table {
    /// Reads `weight`; a dense one starts as `start` says.
    pub fn new(shape: (usize, usize), start: Init, weights: &Weights<'_>) -> Result<Self> {
        match weights.matrix(shape)? {
            Some(rows) => Ok(Self::Quantized { rows, dtype: weights.dense.dtype() }),
            None => weights.dense.get_with_hints(shape, "weight", start).map(Self::Dense),
        }
    }

    /// (rows, width).
    pub fn shape(&self) -> Result<(usize, usize)> {
        match self {
            Self::Dense(table) => table.dims2(),
            Self::Quantized { rows, .. } => rows.shape().dims2(),
        }
    }

    /// Row numbers (.., T) of type u32 to rows (.., T, width).
    pub fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(table) => {
                let mut shape = ids.dims().to_vec();
                shape.push(table.dim(1)?);
                table.index_select(&ids.flatten_all()?, 0)?.reshape(shape)
            }
            Self::Quantized { rows, dtype } => rows.embedding(ids)?.to_dtype(*dtype),
        }
    }

    /// x Wᵀ: (n, width) to (n, rows).
    pub fn scores(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(table) => ops::linear(x, table, None),
            Self::Quantized { rows, .. } => multiplied(x, rows),
        }
    }
}

/// x Wᵀ: (.., inputs) and (outputs, inputs) to (.., outputs), of the type of x.
fn multiplied(x: &Tensor, weight: &QTensor) -> Result<Tensor> {
    let (outputs, inputs) = weight.shape().dims2()?;
    let mut shape = x.dims().to_vec();
    if shape.pop() != Some(inputs) {
        candle_core::bail!("input {:?} does not fit the quantised weight ({outputs}, {inputs})", x.dims());
    }
    let count = x.elem_count() / inputs.max(1);
    shape.push(outputs);
    let rows = x.reshape((count, inputs))?.contiguous()?;
    // candle's kernels for Metal take f32 only.
    let rows = if x.device().is_metal() { rows.to_dtype(DType::F32)? } else { rows };
    if !x.device().is_cpu() || count <= TOGETHER {
        return rows.apply_op1_no_bwd(weight)?.to_dtype(x.dtype())?.reshape(shape);
    }
    let part = |start: usize| rows.narrow(0, start, TOGETHER.min(count - start))?.apply_op1_no_bwd(weight);
    let parts = (0..count).step_by(TOGETHER).map(part).collect::<Result<Vec<_>>>()?;
    Tensor::cat(&parts, 0)?.to_dtype(x.dtype())?.reshape(shape)
}

/// Rows of one product on the processor: candle walks over all of them for every sixteen
/// outputs, and more than these do not stay near the processor.
const TOGETHER: usize = 256;

/// Bytes of the copy that candle makes of a matrix of `bytes` on its first product on the
/// CPU, in the order in which its instructions for small whole numbers want it. Processors
/// with AMX get one more of q4_K, which is not counted: they stand in servers.
pub(super) fn packed_bytes(kind: GgmlDType, bytes: u64, device: &Device) -> u64 {
    if !device.is_cpu() {
        return 0;
    }
    // Sizes of candle's tiles for 16 rows of one block over those of the blocks.
    let (tile, blocks) = match kind {
        _ if cfg!(target_arch = "aarch64") => (1, 1),
        GgmlDType::Q4K => (3_072, 16 * 144),
        GgmlDType::Q6K => (5_120, 16 * 210),
        GgmlDType::Q8_0 => (1, 1),
        _ => (0, 1),
    };
    (bytes / blocks).saturating_mul(tile)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: Device = Device::Cpu;

    fn values(rows: usize, width: usize, step: f32) -> Tensor {
        let values = (0..rows * width).map(|i| (step * i as f32 * (1.0 + (i % 7) as f32)).sin()).collect();
        Tensor::from_vec::<_, f32>(values, (rows, width), &DEVICE).unwrap()
    }

    /// ‖a − b‖ / ‖b‖.
    fn difference(a: &Tensor, b: &Tensor) -> f32 {
        let length =
            |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().sqrt().unwrap().to_scalar::<f32>().unwrap();
        length(&(a - b).unwrap()) / length(b)
    }

    /// The four types that are offered and the two that stand in for them.
    const KINDS: [GgmlDType; 6] =
        [GgmlDType::Q8_0, GgmlDType::Q6K, GgmlDType::Q5K, GgmlDType::Q4K, GgmlDType::Q5_0, GgmlDType::Q5_1];

    /// candle quantises the rows as well, to 8 bits: that is the margin.
    #[test]
    fn a_quantised_layer_agrees_with_its_numbers() {
        let (weight, x) = (values(48, 512, 0.37), values(5, 512, 0.91));
        let bias = Tensor::arange(0f32, 48.0, &DEVICE).unwrap();
        for kind in KINDS {
            let blocks = Arc::new(QTensor::quantize(&weight, kind).unwrap());
            let dense = Linear::new(blocks.dequantize(&DEVICE).unwrap(), Some(bias.clone()));
            let layer = Projection::Quantized { weight: blocks, bias: Some(bias.clone()) };
            for x in [x.clone(), x.narrow(0, 2, 1).unwrap(), x.unsqueeze(0).unwrap()] {
                let (found, wanted) = (layer.forward(&x).unwrap(), dense.forward(&x).unwrap());
                assert_eq!(found.dims(), wanted.dims());
                let difference = difference(&found, &wanted);
                assert!(difference < 0.01, "{kind:?} {:?}: {difference}", x.dims());
            }
            let Projection::Quantized { weight, .. } = layer else { panic!("made so above") };
            let half = multiplied(&x.to_dtype(DType::BF16).unwrap(), &weight).unwrap();
            assert_eq!((half.dtype(), half.dims()), (DType::BF16, [5, 48].as_slice()));
        }
    }

    #[test]
    fn a_quantised_table_gives_the_rows_it_holds_and_scores_with_them() {
        for kind in KINDS {
            let blocks = Arc::new(QTensor::quantize(&values(40, 256, 0.37), kind).unwrap());
            let dense = Table::Dense(blocks.dequantize(&DEVICE).unwrap());
            let table = Table::Quantized { rows: blocks, dtype: DType::F32 };
            let ids = Tensor::new(&[[3u32, 39], [0, 3]], &DEVICE).unwrap();
            let rows = table.rows(&ids).unwrap();
            assert_eq!(rows.dims(), [2, 2, 256]);
            let wanted = dense.rows(&ids).unwrap();
            assert_eq!(difference(&rows, &wanted), 0.0, "{kind:?}");
            let x = values(3, 256, 0.91);
            assert!(difference(&table.scores(&x).unwrap(), &dense.scores(&x).unwrap()) < 0.02, "{kind:?}");
            assert!(table.rows(&Tensor::new(&[40u32], &DEVICE).unwrap()).is_err());
        }
    }
}
