//! Tests only: runs a property with random inputs, those that failed before first. CONTRIBUTING.md says how to use it.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use proptest::{
    prelude::{Strategy, any},
    test_runner::{Config, FileFailurePersistence, TestError, TestRunner},
};

/// Cases of a property that is cheap. The variable `FUZZ_CASES` sets another number.
pub const CHEAP: u32 = 100_000;
/// Cases of a property that encrypts, signs or draws. Each property's number grows in proportion to the variable.
pub const COSTLY: u32 = 10_000;

/// Cases between two checks of the clock.
const CHUNK: u64 = 10_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn corpus(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "corpus", name].iter().collect()
}

/// Runs the property with `cases` random inputs, and before them with those of `tests/corpus/NAME.seeds`, which a failure
/// is added to. `FUZZ_SECONDS` ends a long run: what was run by then is printed.
pub fn check<S: Strategy>(name: &str, cases: u32, inputs: S, property: impl Fn(S::Value)) {
    let wanted =
        variable("FUZZ_CASES").map_or(u64::from(cases), |all| (all * u64::from(cases)).div_ceil(u64::from(CHEAP)));
    let time = variable("FUZZ_SECONDS").map_or(Duration::MAX, Duration::from_secs);
    let file: &'static str = corpus(name).with_extension("seeds").to_str().expect("UTF-8").to_owned().leak();
    let (begun, mut run) = (Instant::now(), 0);
    while run < wanted && begun.elapsed() < time {
        let chunk = CHUNK.min(wanted - run);
        // Another one for each chunk: a runner counts what it has run before.
        let result = TestRunner::new(config(file, chunk)).run(&inputs, |input| {
            property(input);
            Ok(())
        });
        match result {
            Ok(()) => run += chunk,
            Err(TestError::Fail(reason, input)) => panic!("{name}: {reason}\nwith {input:#?}"),
            Err(TestError::Abort(reason)) => panic!("{name}: {reason}"),
        }
    }
    println!("{name}: {run} of {wanted} cases in {:?}", begun.elapsed());
}

fn config(file: &'static str, cases: u64) -> Config {
    Config {
        cases: u32::try_from(cases).expect("a chunk is small"),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        max_shrink_iters: 2_000,
        ..Config::default()
    }
}

/// Like [`check`], with bytes made of pieces that the parser knows and of random ones. First come the inputs of
/// `tests/corpus/NAME.txt`: one on each line, escaped as in a Rust byte string.
pub fn check_bytes(name: &str, cases: u32, pieces: &'static [&'static [u8]], property: impl Fn(&[u8])) {
    let kept = fs::read_to_string(corpus(name).with_extension("txt")).expect("each parser of bytes has a corpus");
    for line in kept.lines() {
        property(&unescaped(line));
    }
    check(name, cases, bytes(pieces), |input| property(&input));
}

/// Three of four parts are pieces.
pub fn bytes(pieces: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u16>(), 0..20).prop_map(move |numbers| {
        let mut joined = Vec::new();
        for number in numbers {
            match number.to_le_bytes() {
                [byte, 0..64] => joined.push(byte),
                _ => joined.extend_from_slice(pieces[usize::from(number) % pieces.len()]),
            }
        }
        joined
    })
}

/// Like [`bytes`], as text.
pub fn text(pieces: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    proptest::collection::vec(any::<u32>(), 0..9).prop_map(move |numbers| {
        let mut joined = String::new();
        for number in numbers {
            // A number that is no character stands for a piece, and so do three of four others.
            match char::from_u32(number >> 8).filter(|_| number.is_multiple_of(4)) {
                Some(other) => joined.push(other),
                None => joined.push_str(pieces[number as usize / 4 % pieces.len()]),
            }
        }
        joined
    })
}

fn unescaped(line: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), line.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match rest.next().expect("a backslash is followed by something") {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.expect("two digits"));
                u8::from_str_radix(str::from_utf8(&digits).expect("digits"), 16).expect("two hexadecimal digits")
            }
            other => other,
        });
    }
    out
}

#[test]
fn escaped_bytes_are_read_back() {
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(unescaped(&all.escape_ascii().to_string()), all);
}
