//! What the weights of a run said of each test example: a safetensors file, for comparisons by example.

use std::path::Path;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{Error, Result, checkpoint::write_atomically, data::Examples, reports::Weights};

/// Logits on one test set.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// The test set's name.
    pub set: String,
    /// Whose logits these are.
    pub weights: Weights,
    /// N.
    pub classes: usize,
    /// In the order of the set.
    pub logits: Vec<f32>, // [examples, N]
    /// The true classes.
    pub labels: Vec<u32>, // [examples]
}

impl Predictions {
    pub(super) fn new(set: &str, weights: Weights, examples: &Examples, logits: &[f32], classes: usize) -> Self {
        let labels = (0..examples.len()).map(|i| examples.label(i)).collect();
        Self { set: set.to_owned(), weights, classes, logits: logits.to_vec(), labels }
    }

    /// Whether each example's largest logit, the lowest of equals, is its label's.
    pub fn correct(&self) -> Vec<f64> {
        self.classes().iter().zip(&self.labels).map(|(class, label)| f64::from(u8::from(class == label))).collect()
    }

    /// The class that each example is taken for.
    pub fn classes(&self) -> Vec<u32> {
        let best = |row: &[f32]| (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best }) as u32;
        self.logits.chunks_exact(self.classes).map(best).collect()
    }

    /// Each example's cross-entropy in nats.
    pub fn losses(&self) -> Vec<f64> {
        let loss = |(row, &label): (&[f32], &u32)| {
            let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let sum: f64 = row.iter().map(|&z| (f64::from(z) - largest).exp()).sum();
            sum.ln() - (f64::from(row[label as usize]) - largest)
        };
        self.logits.chunks_exact(self.classes).zip(&self.labels).map(loss).collect()
    }

    /// Writes those of one run.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn write(all: &[Self], path: &Path) -> Result<()> {
        let mut tensors = Vec::new();
        for part in all {
            let name = format!("{}/{}", part.set, part.weights);
            let shape = vec![part.labels.len(), part.classes];
            tensors.push((format!("logits/{name}"), (Dtype::F32, shape, bytemuck::cast_slice(&part.logits))));
            tensors.push((
                format!("labels/{name}"),
                (Dtype::U32, vec![part.labels.len()], bytemuck::cast_slice(&part.labels)),
            ));
        }
        let unwritable = |fault: safetensors::SafeTensorError| Error::run(path, fault.to_string());
        let views: Vec<(String, TensorView<'_>)> = tensors
            .into_iter()
            .map(|(name, (dtype, shape, bytes))| Ok((name, TensorView::new(dtype, shape, bytes)?)))
            .collect::<Result<_, _>>()
            .map_err(unwritable)?;
        let bytes = safetensors::serialize(views, None).map_err(unwritable)?;
        write_atomically(path, &bytes)
    }

    /// Those that [`Predictions::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Run`] when it is none of these.
    pub fn read(path: &Path) -> Result<Vec<Self>> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let damaged = |what: &str| {
            Error::run(path, format!("holds no predictions: {what}; remove the cell's directory to run it again"))
        };
        let file = SafeTensors::deserialize(&bytes).map_err(|fault| damaged(&fault.to_string()))?;
        let mut all = Vec::new();
        let mut names: Vec<String> =
            file.names().iter().filter_map(|name| name.strip_prefix("logits/")).map(str::to_owned).collect();
        names.sort_unstable();
        for name in names {
            let (set, weights) = name.rsplit_once('/').ok_or_else(|| damaged(&name))?;
            let tensor =
                |kind: &str| file.tensor(&format!("{kind}/{name}")).map_err(|fault| damaged(&fault.to_string()));
            let (logits, labels) = (tensor("logits")?, tensor("labels")?);
            let (&[examples, classes], &[labelled]) = (logits.shape(), labels.shape()) else {
                return Err(damaged(&name));
            };
            let floats = logits.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            let numbers: Vec<u32> =
                labels.data().as_chunks::<4>().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
            let is_whole = (logits.dtype(), labels.dtype()) == (Dtype::F32, Dtype::U32) && examples == labelled;
            if !is_whole || classes == 0 || numbers.iter().any(|&label| label as usize >= classes) {
                return Err(damaged(&name));
            }
            let weights = weights.parse().map_err(|_| damaged(&name))?;
            all.push(Self { set: set.to_owned(), weights, classes, logits: floats, labels: numbers });
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_are_read_as_they_were_written() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("predictions.safetensors");
        let one = Predictions {
            set: "test".into(),
            weights: Weights::Student,
            classes: 2,
            logits: vec![0.0, 1.0, 3.0, 3.0, -1.0, 1.0],
            labels: vec![1, 1, 0],
        };
        let two = Predictions { set: "mm/odd".into(), weights: Weights::Average, ..one.clone() };
        Predictions::write(&[one.clone(), two.clone()], &path).unwrap();
        assert_eq!(Predictions::read(&path).unwrap(), [two, one.clone()]);
        assert_eq!((one.classes(), one.correct()), (vec![1, 0, 1], vec![1.0, 0.0, 0.0]));
        let expected = [(1.0 + (-1f64).exp()).ln(), 2f64.ln(), (1.0 + 2f64.exp()).ln()];
        assert!(one.losses().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{:?}", one.losses());
        std::fs::write(&path, b"half").unwrap();
        assert!(Predictions::read(&path).unwrap_err().to_string().contains("run it again"));
    }
}
