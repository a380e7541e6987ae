use super::*;

fn filter(options: LogOptions, lines: &[&str]) -> String {
    let mut filter = Filter::new(options);
    let mut out = Vec::new();
    for line in lines {
        if !filter.take(line.as_bytes(), &mut out) {
            break;
        }
    }
    String::from_utf8(out).unwrap()
}

const LINES: [&str; 4] = [
    "2026-01-01T00:00:01Z stdout F one\n",
    "2026-01-01T00:00:02Z stdout P tw\n",
    "2026-01-01T00:00:03Z stdout F o\n",
    "2026-01-01T00:00:04Z stderr F three\n",
];

#[test]
fn parts_are_joined_and_times_stand_once_per_line() {
    assert_eq!(filter(LogOptions::default(), &LINES), "one\ntwo\nthree\n");
    let timed = LogOptions {
        timestamps: true,
        ..LogOptions::default()
    };
    assert_eq!(
        filter(timed, &LINES),
        "2026-01-01T00:00:01Z one\n2026-01-01T00:00:02Z two\n2026-01-01T00:00:04Z three\n"
    );
}

#[test]
fn since_stream_and_limit_choose() {
    let since = Some("2026-01-01T00:00:04Z".parse().unwrap());
    assert_eq!(
        filter(
            LogOptions {
                since,
                ..LogOptions::default()
            },
            &LINES
        ),
        "three\n"
    );
    let stream = Some("stdout");
    assert_eq!(
        filter(
            LogOptions {
                stream,
                ..LogOptions::default()
            },
            &LINES
        ),
        "one\ntwo\n"
    );
    let limit = Some(5);
    assert_eq!(
        filter(
            LogOptions {
                limit,
                ..LogOptions::default()
            },
            &LINES
        ),
        "one\nt"
    );
}

fn log_of(name: &str, files: &[&str]) -> (PathBuf, Vec<PathBuf>) {
    let dir = std::env::temp_dir().join(format!("pt-{name}-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&dir).unwrap();
    let paths: Vec<_> = (0..files.len())
        .map(|index| dir.join(index.to_string()))
        .collect();
    for (path, text) in paths.iter().zip(files) {
        std::fs::write(path, text).unwrap();
    }
    (dir, paths)
}

#[test]
fn a_tail_counts_whole_lines_across_rotated_files() {
    let current = LINES.concat();
    let (dir, files) = log_of("tail", &["2025-12-31T23:59:59Z stdout F zero\n", &current]);
    assert_eq!(
        tail_start(&files, 1).unwrap(),
        (1, (current.len() - LINES[3].len()) as u64)
    );
    assert_eq!(tail_start(&files, 2).unwrap(), (1, LINES[0].len() as u64));
    assert_eq!(tail_start(&files, 3).unwrap(), (1, 0));
    assert_eq!(tail_start(&files, 4).unwrap(), (0, 0));
    assert_eq!(tail_start(&files, 99).unwrap(), (0, 0));
    assert_eq!(tail_start(&files, 0).unwrap(), (1, current.len() as u64));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_tail_is_found_in_a_log_of_many_blocks() {
    let line = |n: usize| format!("2026-01-01T00:00:00Z stdout F {n} {}\n", "x".repeat(100));
    let text: String = (0..5000).map(line).collect();
    let (dir, files) = log_of("blocks", &[&text]);
    let (_, offset) = tail_start(&files, 1500).unwrap();
    let rest = &text[usize::try_from(offset).unwrap()..];
    assert!(rest.starts_with("2026-01-01T00:00:00Z stdout F 3500 "));
    assert_eq!(rest.lines().count(), 1500);
    std::fs::remove_dir_all(dir).unwrap();
}
