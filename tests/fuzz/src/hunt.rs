//! One hunt: inputs for a target until one breaks a promise or all were read.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use crate::Target;
use crate::mutate::{Chance, mutated};
use crate::pool::Pool;

/// An input that takes longer hangs: nothing here waits for anybody.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to look for, and how long.
pub struct Hunt<'a> {
    /// The target's name, which names the files.
    pub name: &'a str,
    /// Inputs beside the examples.
    pub runs: u64,
    /// Where chance begins.
    pub seed: u64,
    /// Where the input at hand is kept, so that it is there when the process dies of it.
    pub dir: &'a Path,
}

/// How a hunt ended well.
#[derive(Debug)]
pub struct Found {
    /// Inputs read.
    pub inputs: u64,
    /// Different ways in which they were answered.
    pub answers: usize,
}

/// Hunts.
///
/// # Errors
/// The first broken promise, and the file with the input that broke it.
pub fn hunt(target: &dyn Target, hunt: &Hunt<'_>) -> Result<Found, String> {
    let _alone = HUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let file = hunt.dir.join(format!("{}.input", hunt.name));
    let watch = Watch::begin(file.clone());
    let examples = target.examples();
    let mut pool = Pool::new(examples.clone());
    let mut chance = Chance::new(hunt.seed);
    let mut inputs = 0;
    let mut one = |input: &[u8], pool: &mut Pool| {
        std::fs::write(&file, input).map_err(|e| format!("{}: {e}", file.display()))?;
        inputs += 1;
        watch.next();
        let answer = read(target, input).map_err(|why| {
            let text = String::from_utf8_lossy(&input[..input.len().min(2_000)]);
            let at = file.display();
            format!("{}: {why}\ninput {inputs}, in {at}:\n{text}", hunt.name)
        })?;
        pool.learn(input, answer);
        Ok::<_, String>(())
    };
    for example in &examples {
        one(example, &mut pool)?;
    }
    for _ in 0..hunt.runs {
        let from = pool.any(&mut chance).to_vec();
        let input = mutated(&from, &pool, target.words(), &mut chance);
        one(&input, &mut pool)?;
    }
    let _ = std::fs::remove_file(&file);
    Ok(Found {
        inputs,
        answers: pool.answers(),
    })
}

/// One hunt at a time, because a panic does not say whose it is.
static HUNTING: Mutex<()> = Mutex::new(());
/// The last panic of who reads, or of a thread that works for him.
static PANIC: Mutex<Option<String>> = Mutex::new(None);
/// The name of threads that work for who reads.
pub(crate) const WORKER: &str = "naru-fuzz";

thread_local! {
    static READS: Cell<bool> = const { Cell::new(false) };
}

/// Reads one input; a panic, here or in a task, is a broken promise like others.
pub(crate) fn read(target: &dyn Target, input: &[u8]) -> Result<u64, String> {
    listen();
    READS.set(true);
    let answer = panic::catch_unwind(AssertUnwindSafe(|| target.read(input)));
    READS.set(false);
    let said = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (answer, said) {
        (Ok(answer), None) => answer,
        (_, said) => Err(said.unwrap_or_else(|| "it panicked".to_owned())),
    }
}

/// Notes every panic that is about an input.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if READS.get() || std::thread::current().name() == Some(WORKER) {
                let mut said = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
                *said = Some(format!("panic: {info}"));
            }
            before(info);
        }));
    });
}

/// Ends the process when one input takes too long.
struct Watch(Arc<AtomicU64>);

impl Watch {
    fn begin(file: PathBuf) -> Self {
        let inputs = Arc::new(AtomicU64::new(0));
        let seen = Arc::downgrade(&inputs);
        std::thread::spawn(move || {
            let mut last = None;
            while let Some(inputs) = seen.upgrade() {
                let now = inputs.load(Ordering::Relaxed);
                drop(inputs);
                if last == Some(now) {
                    eprintln!("no answer to {}", file.display());
                    std::process::abort();
                }
                last = Some(now);
                std::thread::sleep(PATIENCE);
            }
        });
        Self(inputs)
    }

    fn next(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
