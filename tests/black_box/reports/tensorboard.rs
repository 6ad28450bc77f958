//! Event files, read back by a decoder that shares nothing with the encoder: bitwise CRC, protobuf by hand.

use std::{fs, path::Path};

use bertsd_cuda::{
    metrics::Scores,
    reports::{EvalEvent, Event, Split, StepEvent, TensorBoardWriter, Weights},
};

/// CRC-32C bit by bit (polynomial 0x1EDC6F41, reflected), masked as TFRecords are.
fn masked_crc(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    let crc = !crc;
    crc.rotate_left(17).wrapping_add(0xa282ead8)
}

fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(word(8), masked_crc(&bytes[..8]));
        assert_eq!(word(12 + length), masked_crc(&bytes[12..12 + length]));
        records.push(bytes[12..12 + length].to_vec());
        bytes = &bytes[16 + length..];
    }
    records
}

#[derive(Debug, PartialEq)]
enum Value {
    Varint(u64),
    Fixed64(u64),
    Bytes(Vec<u8>),
    Fixed32(u32),
}

/// The fields of a protobuf message as (number, value).
fn fields(bytes: &[u8]) -> Vec<(u64, Value)> {
    let mut at = 0;
    let mut fields = Vec::new();
    let varint = |at: &mut usize| {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[*at];
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    };
    while at < bytes.len() {
        let key = varint(&mut at);
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut at)),
            1 => {
                at += 8;
                Value::Fixed64(u64::from_le_bytes(bytes[at - 8..at].try_into().unwrap()))
            }
            2 => {
                let length = varint(&mut at) as usize;
                at += length;
                Value::Bytes(bytes[at - length..at].to_vec())
            }
            5 => {
                at += 4;
                Value::Fixed32(u32::from_le_bytes(bytes[at - 4..at].try_into().unwrap()))
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, value));
    }
    fields
}

/// What a file holds: records other than summaries as their step and only other field, and summaries as their step and
/// scalars.
type Decoded = (Vec<(u64, Value)>, Vec<(u64, Vec<(String, f32)>)>);

fn decode(path: &Path) -> Decoded {
    let (mut others, mut summaries) = (Vec::new(), Vec::new());
    for record in records(&fs::read(path).unwrap()) {
        let mut event = fields(&record).into_iter();
        let Some((1, Value::Fixed64(wall_time))) = event.next() else { panic!("no wall time") };
        assert!((1.6e9..1e11).contains(&f64::from_bits(wall_time)));
        let Some((2, Value::Varint(step))) = event.next() else { panic!("no step") };
        match event.next().unwrap() {
            (5, Value::Bytes(summary)) => {
                let scalar = |(number, value)| {
                    let (1, Value::Bytes(value)) = (number, value) else { panic!("no value") };
                    let value = fields(&value);
                    let [(1, Value::Bytes(tag)), (2, Value::Fixed32(scalar))] = &value[..] else { panic!("{value:?}") };
                    (String::from_utf8(tag.clone()).unwrap(), f32::from_bits(*scalar))
                };
                summaries.push((step, fields(&summary).into_iter().map(scalar).collect()));
            }
            (field, Value::Bytes(value)) => others.push((step, Value::Bytes([vec![field as u8], value].concat()))),
            other => panic!("{other:?}"),
        }
    }
    (others, summaries)
}

fn scores() -> Scores {
    let [accuracy, macro_f1, weighted_f1, mcc, loss, ece] = [0.875, 0.75, 0.5, 0.25, 0.125, 0.0625];
    Scores { accuracy, macro_f1, weighted_f1, mcc, loss, ece, examples: 8 }
}

#[test]
fn scalars_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = TensorBoardWriter::create(directory.path().join("tensorboard")).unwrap();
    writer.scalars(300, &[("a", 1.5), ("ü", -2.0)]).unwrap();
    let step =
        StepEvent { step: u64::from(u32::MAX) + 1, ce: 0.5, lr: f64::NAN, lambda: Some(3.0), ..StepEvent::default() };
    writer.write(&Event::Step(step)).unwrap();
    writer.write(&EvalEvent::new(Split::Test, Weights::Average, 9, scores()).into()).unwrap();
    let name = writer.path().file_name().unwrap().to_str().unwrap();
    let parts: Vec<&str> = name.splitn(5, '.').collect();
    assert_eq!(parts[..3], ["events", "out", "tfevents"]);
    assert!(parts[3].len() == 10 && parts[3].parse::<u64>().is_ok() && !parts[4].is_empty(), "{name}");

    let (others, summaries) = decode(writer.path());
    assert_eq!(others, [(0, Value::Bytes(b"\x03brain.Event:2".to_vec()))]);
    assert_eq!(summaries[0], (300, vec![("a".into(), 1.5), ("ü".into(), -2.0)]));
    assert_eq!(summaries[1].0, 1 << 32);
    let of = |summary: usize, tag: &str| summaries[summary].1.iter().find(|(t, _)| t == tag).map(|&(_, value)| value);
    assert_eq!((of(1, "train/ce"), of(1, "train/lambda"), of(1, "train/epoch")), (Some(0.5), Some(3.0), None));
    assert!(of(1, "train/lr").unwrap().is_nan());
    assert_eq!((of(2, "test/accuracy/average"), of(2, "test/ece/average")), (Some(0.875), Some(0.0625)));
    assert_eq!(summaries[2].1.len(), 6);
}

#[test]
fn a_resumed_run_starts_a_file_that_purges_later_steps() {
    let directory = tempfile::tempdir().unwrap();
    let first = TensorBoardWriter::create(directory.path()).unwrap();
    let mut second = TensorBoardWriter::resume(directory.path(), 41).unwrap();
    assert_ne!(first.path(), second.path());
    assert!(first.path() < second.path(), "TensorBoard reads files in the order of their names");
    second.scalars(42, &[("a", 1.0)]).unwrap();
    let (others, summaries) = decode(second.path());
    // Field 7 is the session log; in it field 1, the status, is 1: START.
    assert_eq!(others[1..], [(42, Value::Bytes(vec![7, 8, 1]))]);
    assert_eq!(summaries, [(42, vec![("a".to_owned(), 1.0)])]);
}
