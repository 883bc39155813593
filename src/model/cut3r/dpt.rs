//! The convolutional head: four token maps fused from coarse to fine (Ranftl et
//! al., arXiv 2103.13413), full input resolution.

use candle_core::{Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig, Module as _, VarBuilder};

use super::{Cut3rConfig, DptConfig};

#[derive(Debug, Clone)]
pub(super) struct Dpt {
    /// 1x1 projections of the four token maps.
    project: [Conv2d; 4],
    up4: ConvTranspose2d,
    up2: ConvTranspose2d,
    down2: Conv2d,
    layer_rn: Vec<Conv2d>,
    /// Finest first.
    refine: Vec<Refine>,
    head: [Conv2d; 3],
}

fn same(kernel: usize) -> Conv2dConfig {
    Conv2dConfig { padding: kernel / 2, ..Conv2dConfig::default() }
}

impl Dpt {
    pub(super) fn new(sizes: &DptConfig, c: &Cut3rConfig, out: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        let [d0, d1, d2, d3] = sizes.layer_dims;
        let (feature, last, width) = (sizes.feature_dim, sizes.last_dim, c.dec_embed_dim);
        let act = vb.pp("act_postprocess");
        let project =
            |i: usize, from: usize, to: usize| candle_nn::conv2d(from, to, 1, same(1), act.pp(i).pp(0));
        let up = |i: usize, dim: usize, stride: usize| {
            let config = ConvTranspose2dConfig { stride, ..ConvTranspose2dConfig::default() };
            candle_nn::conv_transpose2d(dim, dim, stride, config, act.pp(i).pp(1))
        };
        let scratch = vb.pp("scratch");
        let head = vb.pp("head");
        Ok(Self {
            project: [
                project(0, c.enc_embed_dim, d0)?,
                project(1, width, d1)?,
                project(2, width, d2)?,
                project(3, width, d3)?,
            ],
            up4: up(0, d0, 4)?,
            up2: up(1, d1, 2)?,
            down2: candle_nn::conv2d(d3, d3, 3, Conv2dConfig { stride: 2, ..same(3) }, act.pp("3.1"))?,
            layer_rn: [d0, d1, d2, d3]
                .into_iter()
                .enumerate()
                .map(|(i, dim)| {
                    candle_nn::conv2d_no_bias(dim, feature, 3, same(3), scratch.pp("layer_rn").pp(i))
                })
                .collect::<Result<_>>()?,
            refine: (1..=4)
                .map(|k| Refine::new(feature, k < 4, &scratch.pp(format!("refinenet{k}"))))
                .collect::<Result<_>>()?,
            head: [
                candle_nn::conv2d(feature, last, 3, same(3), head.pp(0))?,
                candle_nn::conv2d(last, last, 3, same(3), head.pp(2))?,
                candle_nn::conv2d(last, out, 1, same(1), head.pp(4))?,
            ],
        })
    }

    /// Four token sets (B, N, W) of a grid to (B, out, H, W).
    pub(super) fn forward(&self, tokens: &[Tensor; 4], (rows, columns): (usize, usize)) -> Result<Tensor> {
        let map = |i: usize| -> Result<Tensor> {
            let (batch, _, width) = tokens[i].dims3()?;
            let map = tokens[i].transpose(1, 2)?.contiguous()?.reshape((batch, width, rows, columns))?;
            self.project[i].forward(&map)
        };
        let maps = [
            self.up4.forward(&map(0)?)?,
            self.up2.forward(&map(1)?)?,
            map(2)?,
            self.down2.forward(&map(3)?)?,
        ];
        let layers = maps
            .iter()
            .zip(&self.layer_rn)
            .map(|(map, conv)| conv.forward(map))
            .collect::<Result<Vec<_>>>()?;
        let mut path = self.refine[3].forward(&layers[3], None)?;
        // An odd grid makes the coarsest map one cell larger than its neighbour.
        let (_, _, height, width) = layers[2].dims4()?;
        path = path.narrow(2, 0, height)?.narrow(3, 0, width)?.contiguous()?;
        for k in (0..3).rev() {
            path = self.refine[k].forward(&path, Some(&layers[k]))?;
        }
        let path = double(&self.head[0].forward(&path)?)?;
        self.head[2].forward(&self.head[1].forward(&path)?.relu()?)
    }
}

/// Twice the size, bilinear, corners aligned.
fn double(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    x.upsample_bilinear2d(2 * height, 2 * width, true)
}

#[derive(Debug, Clone)]
struct Refine {
    skip: Option<ResidualConv>,
    residual: ResidualConv,
    out_conv: Conv2d,
}

impl Refine {
    fn new(width: usize, with_skip: bool, vb: &VarBuilder<'_>) -> Result<Self> {
        let skip = with_skip.then(|| ResidualConv::new(width, &vb.pp("resConfUnit1"))).transpose()?;
        Ok(Self {
            skip,
            residual: ResidualConv::new(width, &vb.pp("resConfUnit2"))?,
            out_conv: candle_nn::conv2d(width, width, 1, same(1), vb.pp("out_conv"))?,
        })
    }

    fn forward(&self, path: &Tensor, skip: Option<&Tensor>) -> Result<Tensor> {
        let path = match (&self.skip, skip) {
            (Some(unit), Some(skip)) => (path + unit.forward(skip)?)?,
            _ => path.clone(),
        };
        self.out_conv.forward(&double(&self.residual.forward(&path)?)?)
    }
}

#[derive(Debug, Clone)]
struct ResidualConv {
    conv1: Conv2d,
    conv2: Conv2d,
}

impl ResidualConv {
    fn new(width: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            conv1: candle_nn::conv2d(width, width, 3, same(3), vb.pp("conv1"))?,
            conv2: candle_nn::conv2d(width, width, 3, same(3), vb.pp("conv2"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.conv2.forward(&self.conv1.forward(&x.relu()?)?.relu()?)? + x
    }
}
