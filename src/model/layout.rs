//! The order of all parameters in one flat arena.
//!
//! Weights, gradients, both moments, teacher, ring buffer and averages are arenas of this one shape, so that clipping,
//! AdamW and the teacher update are one pass over memory. Query, key and value stand next to each other, and so do
//! their biases: `[3A, C]` and `[3A]` are views. Matrices are `[outputs, inputs]`, row-major, as `torch.nn.Linear` keeps
//! them.
//!
//! A is H times the head size that is computed with: C, but for heads of a size that is no multiple of 8, which are
//! padded with zeros to the next one. Padding is exact: its products are 0, so that scores and contexts are those
//! without it; its gradients are 0, as each is a product with padding on the other side; and neither dropout nor weight
//! decay moves a 0.

use super::BertConfig;

/// A range of an arena. Every view starts at a multiple of 8 elements (16 bytes of bf16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// First element.
    pub start: usize,
    /// Elements.
    pub len: usize,
}

impl View {
    /// The elements.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start..self.start + self.len
    }

    /// `len` elements from `offset` on.
    pub fn part(self, offset: usize, len: usize) -> Self {
        assert!(offset + len <= self.len, "a part of a view lies inside it");
        Self { start: self.start + offset, len }
    }

    /// This view and the one right behind it, as one.
    fn join(self, next: Self) -> Self {
        assert_eq!(self.start + self.len, next.start, "joined views are neighbours");
        Self { start: self.start, len: self.len + next.len }
    }
}

/// One named parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The name `transformers` gives it in `BertForSequenceClassification`.
    pub name: String,
    /// Rows and columns, or elements, as in files.
    pub shape: Vec<usize>,
    /// Where it lies.
    pub view: View,
    /// The elements lie in runs of this many, in the order of files: a run is a head where zeros fill heads up, and
    /// all of the parameter elsewhere.
    pub run: usize,
    /// From the beginning of a run to that of the next.
    pub stride: usize,
    /// Weight decay applies: neither a bias nor of a LayerNorm.
    pub decay: bool,
    /// Which learning rate it has.
    pub group: Group,
}

impl Segment {
    /// How many elements it has, without what fills heads up.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether zeros lie between its elements.
    pub fn is_padded(&self) -> bool {
        self.run < self.stride
    }

    /// Its elements, given its part of an arena.
    pub fn runs<'a>(&self, part: &'a [f32]) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let run = self.run;
        part.chunks_exact(self.stride).map(move |chunk| &chunk[..run])
    }

    /// [`Segment::runs`], to be written.
    pub fn runs_mut<'a>(&self, part: &'a mut [f32]) -> impl Iterator<Item = &'a mut [f32]> + use<'a> {
        let run = self.run;
        part.chunks_exact_mut(self.stride).map(move |chunk| &mut chunk[..run])
    }
}

/// Which learning rate a parameter follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The encoder's, at this height: 0 the embeddings, l + 1 layer l, L + 1 the pooler. Layer-wise decay counts from
    /// it.
    Encoder {
        /// 0 at the bottom.
        height: usize,
    },
    /// The classifier's own.
    Head,
}

/// A weight and its bias.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// The matrix.
    pub weight: View,
    /// The bias.
    pub bias: View,
}

/// Scale γ and shift β of a layer norm.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Scale.
    pub gamma: View,
    /// Shift.
    pub beta: View,
}

/// Where the embeddings lie.
#[derive(Clone, Copy, Debug)]
pub struct Embeddings {
    /// By word.
    pub word: View, // [V, C]
    /// By position.
    pub position: View, // [positions, C]
    /// By token type.
    pub kind: View, // [types, C]
    /// Of their sum.
    pub norm: Norm,
}

/// Where a layer lies.
#[derive(Clone, Copy, Debug)]
pub struct EncoderLayer {
    /// Queries, keys and values in one product.
    pub qkv: Linear, // [3A, C]
    /// After attention.
    pub attention_output: Linear, // [C, A]
    /// After the first residual.
    pub attention_norm: Norm, // [C]
    /// Before GELU.
    pub intermediate: Linear, // [F, C]
    /// After GELU.
    pub output: Linear, // [C, F]
    /// After the second residual.
    pub output_norm: Norm, // [C]
}

/// Every parameter's place.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Every parameter under its name in files, in the order of the arena.
    pub segments: Vec<Segment>,
    /// The embeddings.
    pub embeddings: Embeddings,
    /// The layers.
    pub layers: Vec<EncoderLayer>,
    /// Before the head's tanh.
    pub pooler: Linear, // [C, C]
    /// Gives the logits.
    pub classifier: Linear, // [N, C]
    /// Elements of an arena, a multiple of 16; what lies behind the last parameter stays 0.
    pub len: usize,
}

impl Layout {
    /// That of a model.
    pub fn new(config: &BertConfig) -> Self {
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let heads = Heads { count: config.heads, used: config.head_size(), padded: config.padded_head_size() };
        let mut builder = Builder::default();
        let embeddings = builder.group(Group::Encoder { height: 0 }, |b| Embeddings {
            word: b.matrix("bert.embeddings.word_embeddings.weight", config.vocab_size, c),
            position: b.matrix("bert.embeddings.position_embeddings.weight", config.max_positions, c),
            kind: b.matrix("bert.embeddings.token_type_embeddings.weight", config.type_vocab_size, c),
            norm: b.norm("bert.embeddings.LayerNorm", c),
        });
        let layers = (0..config.layers)
            .map(|l| {
                builder.group(Group::Encoder { height: l + 1 }, |b| {
                    b.layer(&format!("bert.encoder.layer.{l}"), c, f, heads)
                })
            })
            .collect();
        let top = Group::Encoder { height: config.layers + 1 };
        let pooler = builder.group(top, |b| b.linear("bert.pooler.dense", c, c));
        let classifier = builder.group(Group::Head, |b| b.linear("classifier", config.labels, c));
        Self {
            embeddings,
            layers,
            pooler,
            classifier,
            len: builder.end.next_multiple_of(16),
            segments: builder.segments,
        }
    }

    /// Parameters, padding not counted.
    pub fn parameters(&self) -> usize {
        self.segments.iter().map(Segment::elements).sum()
    }

    /// The parameter of this name.
    pub fn segment(&self, name: &str) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.name == name)
    }
}

/// The heads of a layer's attention: how many, and their elements, without and with the zeros that fill them up.
#[derive(Clone, Copy)]
struct Heads {
    count: usize,
    used: usize,
    padded: usize,
}

#[derive(Default)]
struct Builder {
    segments: Vec<Segment>,
    group: Option<Group>,
    end: usize,
}

impl Builder {
    fn group<T>(&mut self, group: Group, fill: impl FnOnce(&mut Self) -> T) -> T {
        self.group = Some(group);
        fill(self)
    }

    fn push(&mut self, name: String, shape: Vec<usize>, decay: bool) -> View {
        let elements = shape.iter().product();
        self.push_runs(name, shape, decay, (1, elements, elements))
    }

    /// `count` runs of `run` elements each, `stride` apart.
    fn push_runs(
        &mut self,
        name: String,
        shape: Vec<usize>,
        decay: bool,
        (count, run, stride): (usize, usize, usize),
    ) -> View {
        let view = View { start: self.end.next_multiple_of(8), len: count * stride };
        self.end = view.start + view.len;
        let group = self.group.expect("parameters are pushed inside a group");
        self.segments.push(Segment { name, shape, view, run, stride, decay, group });
        view
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> View {
        self.push(name.to_owned(), vec![rows, cols], true)
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) -> Linear {
        let weight = self.push(format!("{name}.weight"), vec![outputs, inputs], true);
        Linear { weight, bias: self.push(format!("{name}.bias"), vec![outputs], false) }
    }

    fn norm(&mut self, name: &str, width: usize) -> Norm {
        let gamma = self.push(format!("{name}.weight"), vec![width], false);
        Norm { gamma, beta: self.push(format!("{name}.bias"), vec![width], false) }
    }

    fn layer(&mut self, name: &str, c: usize, f: usize, heads: Heads) -> EncoderLayer {
        let Heads { count, used, padded } = heads;
        let parts = ["query", "key", "value"].map(|part| format!("{name}.attention.self.{part}"));
        // Heads are rows of the first three matrices, elements of the biases, and columns of the last matrix.
        let [wq, wk, wv] = parts
            .each_ref()
            .map(|part| self.push_runs(format!("{part}.weight"), vec![c, c], true, (count, used * c, padded * c)));
        let [bq, bk, bv] =
            parts.each_ref().map(|part| self.push_runs(format!("{part}.bias"), vec![c], false, (count, used, padded)));
        let output = format!("{name}.attention.output.dense");
        let wo = self.push_runs(format!("{output}.weight"), vec![c, c], true, (c * count, used, padded));
        EncoderLayer {
            qkv: Linear { weight: wq.join(wk).join(wv), bias: bq.join(bk).join(bv) },
            attention_output: Linear { weight: wo, bias: self.push(format!("{output}.bias"), vec![c], false) },
            attention_norm: self.norm(&format!("{name}.attention.output.LayerNorm"), c),
            intermediate: self.linear(&format!("{name}.intermediate.dense"), f, c),
            output: self.linear(&format!("{name}.output.dense"), c, f),
            output_norm: self.norm(&format!("{name}.output.LayerNorm"), c),
        }
    }
}
