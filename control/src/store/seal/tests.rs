//! Sealed rows over the real journal and database, opened again and again with other keys.

use super::super::embedded::Embedded;
use super::super::journal::Journaled;
use super::*;
use crate::store::ResourceDef;

const KNOWN: &[ResourceDef] = &[ResourceDef {
    group: "",
    plural: "secrets",
    fields: &[],
    paths: &[],
}];
const ONE: &str = "{name: one, secret: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=}";
const TWO: &str = "{name: two, secret: AQEBAQEBAQEBAQEBAQEBAQ==}";
/// What stands in every row.
const PLAIN: &[u8] = b"{\"word\":\"in plain sight\"}";

fn encryption(providers: &str) -> Encryption {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n\
         resources: [{{resources: [secrets], providers: [{providers}]}}]"
    );
    Encryption::parse(&text, KNOWN).unwrap_or_else(|error| panic!("{error}"))
}

fn keys(keys: &str) -> Encryption {
    encryption(&format!("aesgcm: {{keys: [{keys}]}}"))
}

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self, encryption: Encryption) -> Sealed<Journaled> {
        let path = self.0.path().join("store.redb");
        let embedded = Embedded::open(&path).unwrap();
        let journaled = Journaled::open(&path, Box::new(embedded)).unwrap();
        Sealed::new(journaled, encryption)
    }

    /// The files as a crash at this moment leaves them.
    fn crashed(&self) -> Self {
        let left = Self::new();
        for file in std::fs::read_dir(self.0.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), left.0.path().join(file.file_name())).unwrap();
        }
        left
    }

    /// Keys and revisions as a start with `encryption` finds them; every value must be right.
    fn found(&self, encryption: Encryption) -> Result<Vec<(String, u64)>, String> {
        let mut rows = Vec::new();
        let mut each = |row: Row<'_>| {
            assert_eq!(row.json, PLAIN, "{}", row.key);
            rows.push((row.key.to_owned(), row.revision));
            Ok(())
        };
        let mut store = self.open(encryption);
        let scanned = store.scan("secrets", &mut each);
        scanned.map(|()| rows).map_err(|error| error.to_string())
    }

    /// How often `text` stands in the files.
    fn occurs(&self, text: &[u8]) -> usize {
        let files = std::fs::read_dir(self.0.path()).unwrap();
        let files = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let places = files.map(|bytes| bytes.windows(text.len()).filter(|it| *it == text).count());
        places.sum()
    }
}

fn put(resource: &str, key: &str, revision: u64) -> RowChange {
    RowChange {
        resource: resource.into(),
        key: key.into(),
        revision,
        json: Some(PLAIN.into()),
    }
}

fn fill(store: &mut dyn Backend) {
    for revision in 1..=5 {
        let row = put("secrets", &format!("a/{revision}"), revision);
        store.commit(revision, &[row]).unwrap();
    }
    let gone = RowChange {
        json: None,
        ..put("secrets", "a/5", 6)
    };
    store.commit(6, &[gone]).unwrap();
}

fn rows() -> Vec<(String, u64)> {
    let row = |revision: u64| (format!("a/{revision}"), revision);
    (1..=4).map(row).collect()
}

#[test]
fn what_is_sealed_stands_in_no_file_neither_before_nor_after_a_crash() {
    let bench = Bench::new();
    let mut store = bench.open(keys(ONE));
    fill(&mut store);
    assert_eq!(bench.occurs(b"plain sight"), 0, "in the journal");
    assert!(bench.occurs(b"k8s:enc:aesgcm:v1:one:") >= 5);
    let bench = bench.crashed();
    drop(store);
    assert_eq!(bench.found(keys(ONE)).unwrap(), rows());
    assert_eq!(bench.occurs(b"plain sight"), 0, "in the database");
    let mut store = bench.open(keys(ONE));
    store.commit(7, &[put("pods", "a/open", 7)]).unwrap();
    assert_eq!(bench.occurs(b"plain sight"), 1, "only secrets are sealed");
}

#[test]
fn a_start_with_a_new_first_key_makes_the_old_one_superfluous() {
    let bench = Bench::new();
    fill(&mut bench.open(keys(ONE)));
    assert_eq!(bench.found(keys(&format!("{TWO}, {ONE}"))).unwrap(), rows());
    assert_eq!(bench.found(keys(TWO)).unwrap(), rows());
}

#[test]
fn encryption_is_switched_on_and_off_without_a_change_of_revisions() {
    let bench = Bench::new();
    fill(&mut bench.open(Encryption::default()));
    let mut store = bench.open(keys(ONE));
    store.scan("secrets", &mut |_| Ok(())).unwrap();
    assert_eq!(store.last_change("secrets").unwrap(), 6, "the deletion");
    assert_eq!(store.revision().unwrap(), 6);
    drop(store);
    let refused = bench.found(Encryption::default()).unwrap_err();
    assert!(refused.contains("secrets|a/1"), "{refused}");
    let off = encryption(&format!("identity: {{}}, aesgcm: {{keys: [{ONE}]}}"));
    assert_eq!(bench.found(off).unwrap(), rows());
    assert_eq!(bench.found(Encryption::default()).unwrap(), rows());
}

#[test]
fn without_the_right_key_nothing_is_served_and_nothing_is_lost() {
    let bench = Bench::new();
    fill(&mut bench.open(keys(ONE)));
    let unknown = bench.found(keys(TWO)).unwrap_err();
    assert!(
        unknown.contains("secrets|a/1") && unknown.contains("\"one\""),
        "{unknown}"
    );
    let namesake = bench.found(keys(&TWO.replace("two", "one"))).unwrap_err();
    assert!(namesake.contains("does not open"), "{namesake}");
    assert_eq!(bench.found(keys(ONE)).unwrap(), rows());
}
