//! Kernels of kernels/optimizer.cu: the norm, AdamW, and every way in which teacher and average follow.

use bertsd_cuda::{
    device::{
        Capacity, Copies, Device, Memory, OptimizerOps, Shape, Update,
        cpu::CpuDevice,
        cuda::{Bf16, CudaDevice, CudaParameters, Element},
    },
    distillation::{Buffer, LogitSizes, Method, MethodSettings, SdvMode, TeacherKind},
    model::{BertConfig, Layout},
    training::{LearningRates, Schedule, TrainingState},
};

use super::{
    support::{self, double, relative_error},
    tiny,
};

const CAPACITY: Capacity = Capacity { tokens: 8, sequences: 1, length: 8 };
const RATES: LearningRates = LearningRates {
    encoder: 1e-2,
    head: 3e-2,
    layer_decay: 0.9,
    weight_decay: 0.1,
    warmup_steps: 0,
    total_steps: 100,
    schedule: Schedule::Linear,
    floor: 0.0,
};
/// Arena by arena, relative to its norm. Moments are rounded alike; a mean of K iterates rounds up to 2K times.
const TOLERANCE: f64 = 1e-6;

/// Against f64: as many roundings again, and a weight may be off by what one of a hundred updates rounds.
const TOLERANCE_OF_F64: f64 = 1e-5;

/// Tables that end inside a block's chunk, one class: a range of one element, and views that end between packs.
fn config() -> BertConfig {
    BertConfig { labels: 1, ..tiny::config(3, 24, 2) }
}

/// Gradients that leave the padding between views alone.
pub fn gradient(layout: &Layout, step: u64, size: f32) -> Vec<f32> {
    let mut stream = tiny::stream(700 + step as u32);
    let mut values = vec![0.0; layout.len];
    for segment in &layout.segments {
        values[segment.view.range()].iter_mut().for_each(|g| *g = size * stream.normal() as f32);
    }
    values
}

#[test]
fn the_norm_is_that_of_the_whole_arena() {
    let config = config();
    let layout = Layout::new(&config);
    let mut device = support::device::<f32>(Shape::new(&config), CAPACITY);
    let mut gradients = device.gradients(layout.len, &layout.embeddings).unwrap();
    for size in [1.0f32, 1e-30, 1e-42, 1e15] {
        let values = gradient(&layout, 1, size);
        device.write_gradients(&mut gradients, &values).unwrap();
        let mut state = state(&device, &fine_tuning(), &vec![0.0; layout.len]);
        step(&mut device, &mut state, &gradients, &layout, 0, 1.0);
        let found = support::gradient_norm(&mut device);
        let expected = tiny::norm(double(&values));
        let mut cpu = CpuDevice::new(Shape::new(&config), CAPACITY);
        let mut cpu_gradients = cpu.gradients(layout.len, &layout.embeddings).unwrap();
        cpu.write_gradients(&mut cpu_gradients, &values).unwrap();
        cpu.gradient_norm(&cpu_gradients).unwrap();
        let of_cpu = support::gradient_norm(&mut cpu);
        assert!((found - of_cpu).abs() <= 1e-6 * expected, "{size}: {found}, {of_cpu} on the processor");
        // Squares below the least float vanish, as they do in torch.
        if size == 1e-30 || size == 1e-42 {
            assert_eq!(found, 0.0);
        } else {
            assert!((found - expected).abs() <= 1e-6 * expected, "{size}: {found} {expected}");
        }
    }
}

fn fine_tuning() -> MethodSettings {
    MethodSettings::new(Method::Ft, TeacherKind::All)
}

pub fn state<D: Device>(device: &D, method: &MethodSettings, weights: &[f32]) -> TrainingState<D> {
    TrainingState::new(device, method, weights, LogitSizes { step: 1, batch: 1 }).unwrap()
}

pub fn step<D: Device>(
    device: &mut D,
    state: &mut TrainingState<D>,
    gradients: &D::Gradients,
    layout: &Layout,
    t: u64,
    clip: f32,
) {
    let mut ranges = Vec::new();
    RATES.fill_ranges(&mut ranges, layout, t);
    let TrainingState { student, teacher, average } = state;
    let update = Update {
        step_number: t + 1,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        clip,
        teacher: teacher.follower(t),
        average: average.as_mut().and_then(|average| average.blend(t)),
    };
    device.gradient_norm(gradients).unwrap();
    device.update(student, gradients, &ranges, update).unwrap();
}

/// Every arena of a state by name, but for what float32 rounded off a mean.
fn arenas<D: Device>(device: &D, state: &mut TrainingState<D>) -> Vec<(String, Vec<f32>)> {
    let mut all = Vec::new();
    for (name, buffer) in state.buffers() {
        let values = match buffer {
            Buffer::Parameters(parameters) => device.read_parameters(parameters),
            Buffer::Arena(arena) => device.read_arena(arena),
            Buffer::Votes(votes) => device.read_vector(votes),
        };
        if !name.ends_with("-rest") {
            all.push((name, values.unwrap().into_owned()));
        }
    }
    all
}

/// The copies in the working precision are the roundings of their originals.
pub fn assert_copies<E: Element>(device: &CudaDevice<E>, state: &mut TrainingState<CudaDevice<E>>) {
    for (name, buffer) in state.buffers() {
        let Buffer::Parameters(CudaParameters { master, working: Some(working) }) = buffer else { continue };
        let copy = working.stream().clone_dtoh(working).unwrap().into_iter().map(E::value);
        let (copy, master): (Vec<f32>, _) = (copy.collect(), device.read_arena(master).unwrap());
        assert!(copy.iter().zip(master.iter()).all(|(&c, &m)| c == E::from_f32(m).value()), "{name}");
    }
}

/// The optimizer in f64, every iterate kept.
struct Exact {
    iterates: Vec<Vec<f64>>,
    first: Vec<f64>,
    second: Vec<f64>,
    ema: Vec<f64>,
}

impl Exact {
    fn new(weights: &[f32]) -> Self {
        let zeros = vec![0.0; weights.len()];
        Self { iterates: vec![double(weights)], first: zeros.clone(), second: zeros, ema: double(weights) }
    }

    fn step(&mut self, layout: &Layout, gradient: &[f32], t: u64, clip: f32, teacher: TeacherKind) {
        let (beta1, beta2, n) = (f64::from(0.9f32), f64::from(0.999f32), (t + 1) as i32);
        let scale = (f64::from(clip) / (tiny::norm(double(gradient)) + 1e-6)).min(1.0);
        let mut theta = self.iterates[t as usize].clone();
        let mut ranges = Vec::new();
        RATES.fill_ranges(&mut ranges, layout, t);
        for range in ranges {
            let (lr, decay) = (f64::from(range.lr), f64::from(range.decay));
            for i in range.start..range.start + range.len {
                let g = f64::from(gradient[i]) * scale;
                self.first[i] = beta1 * self.first[i] + (1.0 - beta1) * g;
                self.second[i] = beta2 * self.second[i] + (1.0 - beta2) * g * g;
                let (m, v) = (self.first[i] / (1.0 - beta1.powi(n)), self.second[i] / (1.0 - beta2.powi(n)));
                theta[i] = theta[i] * (1.0 - lr * decay) - lr * m / (v.sqrt() + 1e-8);
            }
        }
        if let TeacherKind::Ema(decay) = teacher {
            self.ema.iter_mut().zip(&theta).for_each(|(mean, theta)| *mean += (1.0 - decay) * (theta - *mean));
        }
        self.iterates.push(theta);
    }

    /// Mean of the iterates from..to.
    fn mean(&self, from: usize, to: usize) -> Vec<f64> {
        let at = |i: usize| self.iterates[from..to].iter().map(|theta| theta[i]).sum::<f64>() / (to - from) as f64;
        (0..self.ema.len()).map(at).collect()
    }

    /// What the arena of this name has to hold after update t.
    fn arena(&self, name: &str, method: Method, teacher: TeacherKind, t: usize) -> Vec<f64> {
        // Slots hold the iterates before the updates, θ_0 until it is their turn, or 0 where no copy was made of it.
        let slot = |size: usize, k: usize| (0..=t).rev().find(|i| i % size == k);
        match (name, method, teacher) {
            ("student", ..) => self.iterates[t + 1].clone(),
            ("first-moment", ..) => self.first.clone(),
            ("second-moment", ..) => self.second.clone(),
            // From the second iterate on; θ_0 before.
            ("average", ..) => self.mean(if t == 0 { 0 } else { 2 }, if t == 0 { 1 } else { t + 2 }),
            ("teacher", _, TeacherKind::Window(size)) => self.mean((t + 1).saturating_sub(size), t + 1),
            ("teacher", _, TeacherKind::All) => self.mean(0, t + 1),
            ("teacher", _, TeacherKind::Ema(_)) => self.ema.clone(),
            (name, method, TeacherKind::Window(size)) => {
                let number = name.strip_prefix("ring-").and_then(|k| k.parse().ok()).expect("a slot of the ring");
                match (slot(size, number), method) {
                    (Some(i), _) => self.iterates[i].clone(),
                    (None, Method::Sdv) => self.iterates[0].clone(),
                    (None, _) => vec![0.0; self.ema.len()],
                }
            }
            (name, ..) => unreachable!("no such arena: {name}"),
        }
    }
}

fn follows<E: Element>(method: Method, teacher: TeacherKind, mode: SdvMode, steps: u64, clip: f32) {
    let config = config();
    let layout = Layout::new(&config);
    let weights = tiny::weights(&config, 5);
    let settings = MethodSettings { sdv_mode: mode, average_from: Some(2), ..tiny::method(method, teacher) };
    let mut gpu = support::device::<E>(Shape::new(&config), CAPACITY);
    let mut cpu = CpuDevice::new(Shape::new(&config), CAPACITY);
    let mut gpu_state = state(&gpu, &settings, &weights);
    let mut cpu_state = state(&cpu, &settings, &weights);
    let mut gpu_gradients = gpu.gradients(layout.len, &layout.embeddings).unwrap();
    let mut cpu_gradients = cpu.gradients(layout.len, &layout.embeddings).unwrap();
    let mut exact = Exact::new(&weights);
    for t in 0..steps {
        let values = gradient(&layout, t, 0.1 + t as f32);
        gpu.write_gradients(&mut gpu_gradients, &values).unwrap();
        cpu.write_gradients(&mut cpu_gradients, &values).unwrap();
        step(&mut gpu, &mut gpu_state, &gpu_gradients, &layout, t, clip);
        step(&mut cpu, &mut cpu_state, &cpu_gradients, &layout, t, clip);
        exact.step(&layout, &values, t, clip, teacher);
        for ((name, found), (_, expected)) in arenas(&gpu, &mut gpu_state).iter().zip(&arenas(&cpu, &mut cpu_state)) {
            let error = relative_error(found, &double(expected));
            assert!(error <= TOLERANCE, "{method:?} {teacher} {mode:?}, step {t}, {name}: {error:e}");
            let error = relative_error(found, &exact.arena(name, method, teacher, t as usize));
            let what = format!("{method:?} {teacher} {mode:?}, step {t}, {name}");
            assert!(error <= TOLERANCE_OF_F64, "{what}: {error:e} from f64");
        }
    }
    assert_copies(&gpu, &mut gpu_state);
}

/// Every way to follow: not at all, a window while it fills and after, the mean of all, a decaying mean, stored copies.
fn every_follower<E: Element>() {
    for clip in [1.0, f32::INFINITY] {
        follows::<E>(Method::Ft, TeacherKind::All, SdvMode::LookAhead, 3, clip);
    }
    for size in [1, 2, 3, 5] {
        follows::<E>(Method::Sda, TeacherKind::Window(size), SdvMode::LookAhead, 2 * size as u64 + 2, 1.0);
    }
    for teacher in [TeacherKind::All, TeacherKind::Ema(0.9)] {
        follows::<E>(Method::Sda, teacher, SdvMode::LookAhead, 4, 1.0);
    }
    follows::<E>(Method::Sdv, TeacherKind::Window(2), SdvMode::Stored, 4, 1.0);
    follows::<E>(Method::Sdv, TeacherKind::Window(2), SdvMode::LookAhead, 3, 1.0);
}

#[test]
fn student_teacher_and_average_follow_as_on_the_cpu() {
    every_follower::<f32>();
    every_follower::<Bf16>();
}

#[test]
fn a_gradient_that_is_not_finite_moves_neither_weights_nor_moments() {
    let config = config();
    let layout = Layout::new(&config);
    let method = MethodSettings { average_from: Some(1), ..tiny::method(Method::Sda, TeacherKind::Window(2)) };
    let mut device = support::device::<Bf16>(Shape::new(&config), CAPACITY);
    let mut state = state(&device, &method, &tiny::weights(&config, 5));
    let mut gradients = device.gradients(layout.len, &layout.embeddings).unwrap();
    // Student and both moments; the others take the student in once more.
    let own = |device: &_, state: &mut _| arenas(device, state)[..3].to_vec();
    let before = own(&device, &mut state);
    for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
        let mut values = gradient(&layout, 0, 1.0);
        values[layout.classifier.bias.start] = bad;
        device.write_gradients(&mut gradients, &values).unwrap();
        step(&mut device, &mut state, &gradients, &layout, 0, 1.0);
        assert!(!support::gradient_norm(&mut device).is_finite(), "{bad}");
        assert!(own(&device, &mut state) == before, "{bad}");
        assert_copies(&device, &mut state);
    }
}
