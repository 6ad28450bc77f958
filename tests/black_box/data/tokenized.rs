//! Tokenized sets: what they hold, and the cache file they come from.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bertsd_cuda::data::{
    BertTokenizer, ColumnRef, EncodeSettings, Examples, Folders, LabelMap, Labels, PackedBatch, SequenceEncoder,
    Source, TokenizeRequest, TokenizedSet, TokenizingProgress, Truncation,
};
use bertsd_cuda::{Fault, Result, Stop};
use tempfile::TempDir;

use super::fixtures::{json_directory, reviews, rows, snli, source, tokenizer_json, vocabulary, write};

const SETTINGS: EncodeSettings = EncodeSettings { max_length: 24, truncation: Truncation::Head };

fn tokenizer() -> BertTokenizer {
    BertTokenizer::from_dir(json_directory(&tokenizer_json(&vocabulary())).path(), 8192).unwrap()
}

fn open(source: &Source, tokenizer: &BertTokenizer, labels: Labels, cache: Option<&Path>) -> Result<TokenizedSet> {
    TokenizedSet::open(
        source,
        TokenizeRequest { tokenizer, settings: SETTINGS, labels, cache, progress: &mut |_| Ok(()), stop: Stop::NEVER },
    )
}

fn labelled(path: &Path) -> Source {
    source(path, "text", None, Some("label"))
}

/// Everything a set holds: ids; second starts, labels and lines; names.
type Content = (Vec<Vec<u32>>, Vec<(u32, u32, u64)>, Option<Vec<String>>);

fn content(set: &TokenizedSet) -> Content {
    let ids = (0..set.len()).map(|i| set.ids(i).to_vec()).collect();
    let rows = (0..set.len()).map(|i| (set.second_start(i), set.label(i), set.line(i))).collect();
    (ids, rows, set.labels().map(|labels| labels.names().to_vec()))
}

fn cache_files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_set_holds_every_row_in_order() {
    let tokenizer = tokenizer();
    let source = source(&snli("train"), "premise", Some("hypothesis"), Some("label"));
    let mut seen: Vec<TokenizingProgress> = vec![];
    let request = TokenizeRequest {
        tokenizer: &tokenizer,
        settings: SETTINGS,
        labels: Labels::Learn,
        cache: None,
        progress: &mut |progress| {
            seen.push(progress);
            Ok(())
        },
        stop: Stop::NEVER,
    };
    let set = TokenizedSet::open(&source, request).unwrap();
    let rows = rows(&source).unwrap();
    assert_eq!(set.len(), rows.len());
    assert_eq!(set.labels().unwrap().names(), ["contradiction", "entailment", "neutral"]);
    assert_eq!(set.label_counts(), [4000, 4000, 4000]);
    let mut encoder = SequenceEncoder::new(&tokenizer, SETTINGS);
    let mut ids = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        ids.clear();
        let second = encoder.encode(&row.text, row.pair.as_deref(), &mut ids).unwrap();
        assert_eq!((set.ids(i), set.second_start(i), set.line(i)), (&ids[..], second, row.line));
        assert_eq!(set.labels().unwrap().name(set.label(i)), row.label.as_deref());
    }
    assert_eq!(set.lengths().iter().map(|length| u64::from(*length)).sum::<u64>(), set.tokens());
    // Several reports, each further than the one before, and the last at the end.
    assert!(
        seen.len() >= 2 && seen.windows(2).all(|two| two[0].done < two[1].done && two[0].examples < two[1].examples)
    );
    let end = TokenizingProgress { done: source.size(), total: source.size(), examples: 12_000, tokens: set.tokens() };
    assert_eq!(seen.last(), Some(&end));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let tokenizer = tokenizer();
    let source = labelled(&reviews("train"));
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        content(&pool.install(|| open(&source, &tokenizer, Labels::Learn, None)).unwrap())
    };
    assert!(with(1) == with(5));
}

#[test]
fn the_cache_is_used_again_and_gives_the_same() {
    let (tokenizer, directory) = (tokenizer(), TempDir::new().unwrap());
    let source = labelled(&reviews("dev"));
    let cache = directory.path().join("made/when/needed");
    let first = open(&source, &tokenizer, Labels::Learn, Some(&cache)).unwrap();
    assert!(!first.from_cache() && first.notices().is_empty());
    let request = TokenizeRequest {
        tokenizer: &tokenizer,
        settings: SETTINGS,
        labels: Labels::Learn,
        cache: Some(&cache),
        progress: &mut |_| panic!("nothing was to be tokenized"),
        stop: Stop::NEVER,
    };
    let second = TokenizedSet::open(&source, request).unwrap();
    assert!(second.from_cache() && second.notices().is_empty());
    let uncached = open(&source, &tokenizer, Labels::Learn, None).unwrap();
    assert!(!uncached.from_cache());
    assert!(content(&first) == content(&second) && content(&first) == content(&uncached));
    assert_eq!(cache_files(&cache).len(), 1, "only the finished file is left");
    // A copy elsewhere is the same data.
    let copy = write(directory.path(), "copy.csv", fs::read(reviews("dev")).unwrap());
    assert!(open(&labelled(&copy), &tokenizer, Labels::Learn, Some(&cache)).unwrap().from_cache());
}

#[test]
fn whatever_changes_the_tokens_changes_the_key() {
    let (tokenizer, directory) = (tokenizer(), TempDir::new().unwrap());
    let cache = directory.path().join("cache");
    let text = "text,other,label\ngood film,bad,1\nbad film,good,0\n";
    let path = write(directory.path(), "x.csv", text);
    let mut expected = 0;
    let mut fresh = |source: &Source, tokenizer: &BertTokenizer, settings: EncodeSettings, labels: Labels| {
        for from_cache in [false, true] {
            let request = TokenizeRequest {
                tokenizer,
                settings,
                labels,
                cache: Some(&cache),
                progress: &mut |_| Ok(()),
                stop: Stop::NEVER,
            };
            assert_eq!(TokenizedSet::open(source, request).unwrap().from_cache(), from_cache);
        }
        expected += 1;
        assert_eq!(cache_files(&cache).len(), expected);
    };
    let plain = labelled(&path);
    fresh(&plain, &tokenizer, SETTINGS, Labels::Learn);
    fresh(&plain, &tokenizer, EncodeSettings { max_length: 23, ..SETTINGS }, Labels::Learn);
    fresh(&plain, &tokenizer, EncodeSettings { truncation: Truncation::Tail, ..SETTINGS }, Labels::Learn);
    let known = LabelMap::from_names(vec!["1".into(), "0".into()]).unwrap();
    fresh(&plain, &tokenizer, SETTINGS, Labels::Known(&known));
    fresh(&plain, &tokenizer, SETTINGS, Labels::Ignore);
    fresh(&source(&path, "other", None, Some("label")), &tokenizer, SETTINGS, Labels::Learn);
    fresh(&source(&path, "text", Some("other"), Some("label")), &tokenizer, SETTINGS, Labels::Learn);
    let Source::Tables(mut tables) = labelled(&path) else { unreachable!() };
    tables[0].columns.text.push(ColumnRef::from("other"));
    fresh(&Source::Tables(tables), &tokenizer, SETTINGS, Labels::Learn);
    let mut json = tokenizer_json(&vocabulary());
    let pieces = json["model"]["vocab"].as_object_mut().unwrap();
    let (good, bad) = (pieces["good"].clone(), pieces["bad"].clone());
    pieces.extend([("good".to_owned(), bad), ("bad".to_owned(), good)]);
    let other = BertTokenizer::from_dir(json_directory(&json).path(), 8192).unwrap();
    fresh(&plain, &other, SETTINGS, Labels::Learn);
    let folder = directory.path().join("folders");
    write(&folder, "a/1.txt", "good");
    write(&folder, "b/1.txt", "bad");
    let folders = Source::Folders(Folders { root: folder.clone(), labels: vec!["a".into(), "b".into()] });
    fresh(&folders, &tokenizer, SETTINGS, Labels::Learn);
    // The same bytes cut elsewhere are other texts.
    write(&folder, "a/1.txt", "goodb");
    write(&folder, "b/1.txt", "ad");
    fresh(&folders, &tokenizer, SETTINGS, Labels::Learn);
    fs::write(&path, text.replace("good film", "fine film")).unwrap();
    fresh(&plain, &tokenizer, SETTINGS, Labels::Learn);
}

#[test]
fn a_damaged_file_is_noticed_and_made_again() {
    let (tokenizer, directory) = (tokenizer(), TempDir::new().unwrap());
    let path = write(directory.path(), "x.csv", "text,label\ngood film,1\nbad film,0\na very good film,1\n");
    let cache = directory.path().join("cache");
    let source = labelled(&path);
    let expected = content(&open(&source, &tokenizer, Labels::Learn, Some(&cache)).unwrap());
    let file = cache_files(&cache).remove(0);
    let whole = fs::read(&file).unwrap();
    let longer = [&whole[..], &[0]].concat();
    let flipped = (0..whole.len()).map(|position| {
        let mut damaged = whole.clone();
        damaged[position] ^= 0x10;
        damaged
    });
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    for damaged in flipped.chain(cut).chain([longer]) {
        // A rename, as another file would come here: the one that is mapped must not change.
        fs::write(directory.path().join("damaged"), &damaged).unwrap();
        fs::rename(directory.path().join("damaged"), &file).unwrap();
        let set = open(&source, &tokenizer, Labels::Learn, Some(&cache)).unwrap();
        assert!(!set.from_cache() && content(&set) == expected);
        let [notice] = set.notices() else { panic!("{:?}", set.notices()) };
        assert!(notice.contains("tokenized anew, because") && notice.contains(file.to_str().unwrap()), "{notice}");
        assert!(fs::read(&file).unwrap() == whole, "the file is made again as it was");
    }
    assert!(open(&source, &tokenizer, Labels::Learn, Some(&cache)).unwrap().from_cache());
    assert_eq!(cache_files(&cache), [file]);
}

#[test]
fn without_a_writable_cache_it_goes_on_and_says_so() {
    let (tokenizer, directory) = (tokenizer(), TempDir::new().unwrap());
    let path = write(directory.path(), "x.csv", "text,label\ngood,1\nbad,0\n");
    // A file where the directory should be: nobody can write there, root included.
    let cache = path.join("cache");
    let set = open(&labelled(&path), &tokenizer, Labels::Learn, Some(&cache)).unwrap();
    assert_eq!((set.len(), set.from_cache()), (2, false));
    let [notice] = set.notices() else { panic!("{:?}", set.notices()) };
    assert!(notice.contains("cannot be cached") && notice.contains("x.csv"), "{notice}");
}

#[test]
fn labels_that_training_has_not_seen_are_named() {
    let (tokenizer, directory) = (tokenizer(), TempDir::new().unwrap());
    let train = write(directory.path(), "train.csv", "text,label\na,10\nb,9\nc,10\n");
    let train = open(&labelled(&train), &tokenizer, Labels::Learn, None).unwrap();
    let map = train.labels().unwrap();
    assert_eq!((map.names(), train.label_numbers()), (&["9".to_owned(), "10".to_owned()][..], &[1, 0, 1][..]));
    let dev = write(directory.path(), "dev.jsonl", "{\"text\":\"a\",\"label\":9}\n");
    assert_eq!(open(&labelled(&dev), &tokenizer, Labels::Known(map), None).unwrap().label_numbers(), [0]);
    let bad = write(directory.path(), "bad.csv", "text,label\na,9\n\"b\nb\",10\nc,11\n");
    let error = open(&labelled(&bad), &tokenizer, Labels::Known(map), None).err().unwrap();
    assert_eq!(error.fault(), Fault::Data);
    let message = error.to_string();
    assert!(
        message.ends_with("bad.csv, line 5: the label '11' does not occur in training; known are '9', '10'"),
        "{message}"
    );
    let one = write(directory.path(), "one.csv", "text,label\na,x\nb,x\n");
    let message = open(&labelled(&one), &tokenizer, Labels::Learn, None).err().unwrap().to_string();
    assert!(message.contains("every row has the label 'x'"), "{message}");
    let unlabelled = source(&one, "text", None, None);
    let set = open(&unlabelled, &tokenizer, Labels::Ignore, None).unwrap();
    assert!(set.labels().is_none() && set.label_numbers() == [0, 0] && set.label_counts() == [2]);
    assert_eq!(open(&unlabelled, &tokenizer, Labels::Learn, None).err().unwrap().fault(), Fault::Usage);
}

#[test]
fn an_error_far_into_a_file_ends_the_work_and_leaves_no_file() {
    let (tokenizer, directory) = (tokenizer(), TempDir::new().unwrap());
    let mut content = "text,label\n".to_owned();
    (0..30_000).for_each(|i| content += &format!("good film {i},{}\n", i % 2));
    let path = write(directory.path(), "x.csv", content + "lost\n");
    let cache = directory.path().join("cache");
    let message = open(&labelled(&path), &tokenizer, Labels::Learn, Some(&cache)).err().unwrap().to_string();
    assert!(message.contains("line 30002"), "{message}");
    assert!(cache_files(&cache).is_empty());
}

#[test]
fn a_batch_holds_the_sequences_with_types_labels_and_slots() {
    let (tokenizer, directory) = (tokenizer(), TempDir::new().unwrap());
    let path = write(directory.path(), "x.csv", "a,b,label\ngood film,bad,1\n,,0\nfilm,good good,1\n");
    let set = open(&source(&path, "a", Some("b"), Some("label")), &tokenizer, Labels::Learn, None).unwrap();
    let examples = Examples::all(Arc::new(set));
    let mut batch = PackedBatch::default();
    batch.push(&[9], &[0], 0, 0);
    examples.fill(&[2, 1], 4, &mut batch);
    let id = |token: &str| vocabulary().iter().position(|known| known == token).unwrap() as u32;
    let (cls, sep, good, film) = (id("[CLS]"), id("[SEP]"), id("good"), id("film"));
    assert_eq!(batch.ids, [cls, film, sep, good, good, sep, cls, sep, sep]);
    assert_eq!(batch.types, [0, 0, 0, 1, 1, 1, 0, 0, 1]);
    assert_eq!((batch.offsets, batch.labels, batch.slots), (vec![0, 6, 9], vec![1, 0], vec![4, 5]));
}

#[test]
fn parts_of_a_set_are_numbered_from_0() {
    let set = Arc::new(open(&labelled(&reviews("dev")), &tokenizer(), Labels::Learn, None).unwrap());
    let all = Examples::all(Arc::clone(&set));
    let (train, dev) = all.split(0.1, 3).unwrap();
    assert_eq!((train.len(), dev.len()), (900, 100));
    assert_eq!(dev.label_counts(), [50, 50]);
    assert_eq!(train.label_counts().iter().sum::<u64>(), 900);
    assert_eq!(train.tokens() + dev.tokens(), set.tokens());
    let mut lines: Vec<u64> = [&train, &dev].iter().flat_map(|part| (0..part.len()).map(|i| part.line(i))).collect();
    lines.sort_unstable();
    assert!(lines.iter().enumerate().all(|(i, line)| *line == set.line(i)));
    let nested = dev.subset(&[5, 0, 1000]);
    assert_eq!((nested.len(), nested.line(0), nested.line(1)), (2, dev.line(5), dev.line(0)));
    let mut batch = PackedBatch::default();
    nested.fill(&[0], 0, &mut batch);
    assert_eq!(batch.tokens() as u32, dev.lengths()[5]);
}
