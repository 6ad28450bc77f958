//! The order of all parameters in one flat arena.
//!
//! Weights, gradients, both moments, teacher, ring buffer and averages are arenas of this one shape, so that clipping,
//! AdamW and the teacher update are one pass over memory. Query, key and value stand next to each other, and so do
//! their biases: `[3C, C]` and `[3C]` are views. Matrices are `[outputs, inputs]`, row-major, as `torch.nn.Linear`
//! keeps them.

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
    /// Rows and columns, or elements.
    pub shape: Vec<usize>,
    /// Where it lies.
    pub view: View,
    /// Weight decay applies: neither a bias nor of a LayerNorm.
    pub decay: bool,
    /// Which learning rate it has.
    pub group: Group,
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
    pub qkv: Linear, // [3C, C]
    /// After attention.
    pub attention_output: Linear, // [C, C]
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
        let mut builder = Builder::default();
        let embeddings = builder.group(Group::Encoder { height: 0 }, |b| Embeddings {
            word: b.matrix("bert.embeddings.word_embeddings.weight", config.vocab_size, c),
            position: b.matrix("bert.embeddings.position_embeddings.weight", config.max_positions, c),
            kind: b.matrix("bert.embeddings.token_type_embeddings.weight", config.type_vocab_size, c),
            norm: b.norm("bert.embeddings.LayerNorm", c),
        });
        let layers = (0..config.layers)
            .map(|l| {
                builder.group(Group::Encoder { height: l + 1 }, |b| b.layer(&format!("bert.encoder.layer.{l}"), c, f))
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
        self.segments.iter().map(|segment| segment.view.len).sum()
    }

    /// The parameter of this name.
    pub fn segment(&self, name: &str) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.name == name)
    }
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
        let view = View { start: self.end.next_multiple_of(8), len: shape.iter().product() };
        self.end = view.start + view.len;
        let group = self.group.expect("parameters are pushed inside a group");
        self.segments.push(Segment { name, shape, view, decay, group });
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

    fn layer(&mut self, name: &str, c: usize, f: usize) -> EncoderLayer {
        let names = ["query", "key", "value"].map(|part| format!("{name}.attention.self.{part}"));
        let [wq, wk, wv] = names.each_ref().map(|part| self.push(format!("{part}.weight"), vec![c, c], true));
        let [bq, bk, bv] = names.each_ref().map(|part| self.push(format!("{part}.bias"), vec![c], false));
        EncoderLayer {
            qkv: Linear { weight: wq.join(wk).join(wv), bias: bq.join(bk).join(bv) },
            attention_output: self.linear(&format!("{name}.attention.output.dense"), c, c),
            attention_norm: self.norm(&format!("{name}.attention.output.LayerNorm"), c),
            intermediate: self.linear(&format!("{name}.intermediate.dense"), f, c),
            output: self.linear(&format!("{name}.output.dense"), c, f),
            output_norm: self.norm(&format!("{name}.output.LayerNorm"), c),
        }
    }
}
